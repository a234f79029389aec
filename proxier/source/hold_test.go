package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/model"
)

func unready(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	for i := range s.Endpoints {
		s.Endpoints[i].Conditions.Ready = &no
	}
	return s
}

func six(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	s.AddressType = discoveryv1.AddressTypeIPv6
	return s
}

// The steps are: names put (+) or deleted (-), what must pass, and the
// families that are held after it.
func TestHold(t *testing.T) {
	put := func(s *discoveryv1.EndpointSlice) Event { return Event{Slice: s} }
	gone := func(name string) Event { return Event{Slice: apiSlice(name, ""), Deleted: true} }
	full := apiSlice("kubernetes", "kubernetes", "10.0.0.1")
	none := apiSlice("kubernetes", "kubernetes")
	type step struct {
		in   []Event
		want string
		held string
	}
	for name, steps := range map[string][]step{
		"others pass":              {{[]Event{put(apiSlice("web-1", "web"))}, "+web-1:0", ""}, {[]Event{gone("web-1")}, "-web-1", ""}},
		"emptied, then back":       {{[]Event{put(full)}, "+kubernetes:1", ""}, {[]Event{put(none)}, "", "IPv4"}, {[]Event{put(apiSlice("kubernetes", "kubernetes", "10.0.0.2", "10.0.0.3"))}, "+kubernetes:2", ""}},
		"none ready":               {{[]Event{put(full)}, "+kubernetes:1", ""}, {[]Event{put(unready(apiSlice("kubernetes", "kubernetes", "10.0.0.9")))}, "", "IPv4"}},
		"deleted, then other name": {{[]Event{put(full)}, "+kubernetes:1", ""}, {[]Event{gone("kubernetes")}, "", "IPv4"}, {[]Event{put(apiSlice("other", "kubernetes", "10.0.0.2"))}, "+other:1 -kubernetes", ""}},
		"never had any":            {{[]Event{put(none)}, "+kubernetes:0", ""}, {[]Event{gone("kubernetes")}, "-kubernetes", ""}},
		"one of two slices":        {{[]Event{put(full), put(apiSlice("second", "kubernetes", "10.0.0.2"))}, "+kubernetes:1 +second:1", ""}, {[]Event{gone("second")}, "-second", ""}, {[]Event{put(none)}, "", "IPv4"}},
		"families apart": {{[]Event{put(full), put(six(apiSlice("v6", "kubernetes", "fd00::1")))}, "+kubernetes:1 +v6:1", ""},
			{[]Event{gone("v6")}, "", "IPv6"}, {[]Event{put(apiSlice("kubernetes", "kubernetes", "10.0.0.2"))}, "+kubernetes:1", "IPv6"}, {[]Event{put(none)}, "", "IPv4 IPv6"}},
		"emptied and back at once": {{[]Event{put(full)}, "+kubernetes:1", ""}, {[]Event{put(none), put(apiSlice("kubernetes", "kubernetes", "10.0.0.2"))}, "+kubernetes:1", ""}},
		"of another service now":   {{[]Event{put(full)}, "+kubernetes:1", ""}, {[]Event{put(apiSlice("kubernetes", "web", "10.0.0.7"))}, "+kubernetes:1", ""}},
		"among others":             {{[]Event{put(full), put(apiSlice("web-1", "web"))}, "+kubernetes:1 +web-1:0", ""}, {[]Event{gone("web-1"), gone("kubernetes")}, "-web-1", "IPv4"}},
	} {
		t.Run(name, func(t *testing.T) {
			var held []model.Problem
			h := newHold(newTrouble(func(p []model.Problem) { held = p }))
			for i, s := range steps {
				var got []string
				for _, e := range h.filter(s.in) {
					if e.Deleted {
						got = append(got, "-"+e.Slice.Name)
					} else {
						got = append(got, fmt.Sprintf("+%s:%d", e.Slice.Name, len(e.Slice.Endpoints)))
					}
				}
				slices.Sort(got)
				if text := strings.Join(got, " "); text != s.want {
					t.Errorf("step %d: passed %q, want %q", i, text, s.want)
				}
				var families []string
				for _, p := range held {
					for _, f := range []string{"IPv4", "IPv6"} {
						if strings.Contains(p.Message, f) && p.Object == "Service default/kubernetes" {
							families = append(families, f)
						}
					}
				}
				slices.Sort(families)
				if text := strings.Join(families, " "); text != s.held {
					t.Errorf("step %d: held %q, want %q", i, text, s.held)
				}
			}
		})
	}
}

// What is held stays held over a relist, and comes free by one.
func TestHoldOverRelist(t *testing.T) {
	f := newFakeAPI(t)
	r := followAPI(t, f, apiSlice("kubernetes", "kubernetes", "10.0.0.1"))
	f.put(apiSlice("kubernetes", "kubernetes"))
	r.awaitProblem(t, "default/kubernetes")
	f.forget()
	f.put(apiService("after"))
	r.awaitNames(t, "after here kubernetes")
	f.remove(apiSlice("kubernetes", "kubernetes"))
	f.put(apiSlice("web-1", "web", "10.0.0.5"))
	r.awaitNames(t, "after here kubernetes web-1")
	r.look(func() {
		if n := len(r.objects[ref{"EndpointSlice", "default", "kubernetes"}].Slice.Endpoints); n != 1 {
			t.Errorf("%d endpoints are left", n)
		}
	})
	f.put(apiSlice("kubernetes", "kubernetes", "10.0.0.2"))
	r.awaitWell(t)
	r.look(func() {
		if got := r.objects[ref{"EndpointSlice", "default", "kubernetes"}].Slice.Endpoints[0].Addresses[0]; got != "10.0.0.2" {
			t.Errorf("the endpoint is %s", got)
		}
	})
}
