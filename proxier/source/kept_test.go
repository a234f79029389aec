package source

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/model"
)

// slicesOf plays a receiver of events.
type slicesOf map[string]*discoveryv1.EndpointSlice

func (s slicesOf) take(events []Event) {
	for _, e := range events {
		if e.Deleted {
			delete(s, e.Slice.Name)
		} else {
			s[e.Slice.Name] = e.Slice
		}
	}
}

func (s slicesOf) family(f discoveryv1.AddressType) slicesOf {
	out := slicesOf{}
	for name, es := range s {
		if es.AddressType == f {
			out[name] = es
		}
	}
	return out
}

// Whatever comes in whatever batches: a family that has endpoints is delivered
// as it is, one that has lost them is as it was, and a Problem says so.
func TestHoldFollowsOrKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var held []model.Problem
		h := newHold(newTrouble(func(p []model.Problem) { held = p }))
		now, told := slicesOf{}, slicesOf{}
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			var batch []Event
			for range rapid.IntRange(1, 3).Draw(t, "events") {
				batch = append(batch, drawSlice(t))
			}
			before := map[discoveryv1.AddressType]slicesOf{}
			for _, f := range []discoveryv1.AddressType{"IPv4", "IPv6"} {
				before[f] = told.family(f)
			}
			now.take(batch)
			told.take(h.filter(batch))
			for f, was := range before {
				want, keeps := now.family(f), false
				if serves(was, f) && !serves(want, f) {
					want, keeps = was, true
				}
				if got := told.family(f); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s: delivered %v, want %v", f, got, want)
				}
				said := slices.ContainsFunc(held, func(p model.Problem) bool { return strings.Contains(p.Message, string(f)) })
				if said != keeps {
					t.Fatalf("%s: held %t, problems %v", f, keeps, held)
				}
			}
		}
	})
}

// drawSlice draws that a slice of default/kubernetes is put or deleted. A name
// is of one family, as API servers see to.
func drawSlice(t *rapid.T) Event {
	i := rapid.IntRange(0, 3).Draw(t, "slice")
	s := apiSlice(fmt.Sprint("s", i), "kubernetes")
	if i%2 > 0 {
		six(s)
	}
	for range rapid.IntRange(0, 2).Draw(t, "endpoints") {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprint("10.0.0.", rapid.IntRange(1, 9).Draw(t, "address"))}})
	}
	if rapid.Bool().Draw(t, "unready") {
		unready(s)
	}
	if rapid.IntRange(0, 2).Draw(t, "deleted") == 0 {
		return Event{Slice: apiSlice(s.Name, ""), Deleted: true} // no more than the name
	}
	return Event{Slice: s}
}

// The slices of a Service may get other names.
func TestHoldHandsOver(t *testing.T) {
	old, young := apiSlice("old", "kubernetes", "10.0.0.1"), apiSlice("young", "kubernetes", "10.0.0.1")
	appears, goes := Event{Slice: young}, Event{Slice: apiSlice("old", ""), Deleted: true}
	for name, batches := range map[string][][]Event{
		"new one first": {{appears}, {goes}},
		"old one first": {{goes}, {appears}},
		"at once":       {{goes, appears}},
		"at once, too":  {{appears, goes}},
	} {
		t.Run(name, func(t *testing.T) {
			var held []model.Problem
			h, told := newHold(newTrouble(func(p []model.Problem) { held = p })), slicesOf{}
			told.take(h.filter([]Event{{Slice: old}}))
			for _, b := range batches {
				told.take(h.filter(b))
				if !serves(told, discoveryv1.AddressTypeIPv4) {
					t.Errorf("no endpoint after %+v", b)
				}
			}
			if !reflect.DeepEqual(told, slicesOf{"young": young}) || len(held) != 0 {
				t.Errorf("delivered %v, problems %v", told, held)
			}
		})
	}
}

// Only default/kubernetes is held.
func TestHoldLeavesOthers(t *testing.T) {
	h := newHold(newTrouble(func([]model.Problem) { t.Error("a problem") }))
	elsewhere := apiSlice("kubernetes", "kubernetes", "10.0.0.1")
	elsewhere.Namespace = "shop"
	for _, s := range []*discoveryv1.EndpointSlice{elsewhere, apiSlice("dns-1", "dns", "10.0.0.2")} {
		in := [][]Event{{{Slice: s}}, {{Slice: s, Deleted: true}}, {{Service: apiService("kubernetes")}, {Node: apiNode("here")}}}
		for _, events := range in {
			if got := h.filter(events); !reflect.DeepEqual(got, events) {
				t.Errorf("%v became %v", events, got)
			}
		}
	}
}
