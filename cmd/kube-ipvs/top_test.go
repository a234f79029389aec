package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/state"
)

func rates() []health.Rate {
	return []health.Rate{
		{Namespace: "default", Service: "image", Connections: 5000, New: 12.5},
		{Namespace: "default", Service: "idle", Connections: 3, Whole: true},
		{Namespace: "shop", Service: "db", Connections: 70, New: 0.5, Whole: true, Active: 7, Inactive: 2,
			PacketsIn: 1500, PacketsOut: 999, BytesIn: 2.5e6, BytesOut: 12345},
		{Service: "(unpublished)", Connections: 3},
	}
}

func TestTopText(t *testing.T) {
	table := newTopTable(rates(), &topOptions{sort: "new", rows: 3}, time.Time{})
	var out bytes.Buffer
	if err := table.write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	want := `  new/s  active  inactive  packets in/s  out/s  bytes in/s  out/s  connections  service
     12       -         -             -      -           -      -         5000  default/image
    0.5       7         2          1.5k    999        2.5M    12k           70  shop/db
      0       -         -             -      -           -      -            3  (unpublished)
and 1 more
-: not known in full. Behind an image conntrack carries connections past IPVS, which counts new ones only.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTopOrder(t *testing.T) {
	for by, want := range map[string]string{
		"new": "default/image shop/db (unpublished) default/idle", "active": "shop/db default/image (unpublished) default/idle",
		"bytes": "shop/db default/image (unpublished) default/idle", "total": "default/image shop/db (unpublished) default/idle",
	} {
		var got []string
		for _, r := range newTopTable(rates(), &topOptions{sort: by}, time.Time{}).Services {
			got = append(got, r.Service)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %s: %s, want %s", by, got, want)
		}
	}
}

// counting gives readings in which connections grow by ten, until they fail.
type counting struct{ reads, last int }

func (c *counting) Traffic(context.Context) ([]health.Traffic, error) {
	if c.reads++; c.reads > c.last {
		return nil, errors.New("the kernel is gone")
	}
	return []health.Traffic{{Namespace: "default", Service: "web", Of: state.ID{Bits: 1}, Connections: uint64(10 * c.reads), Whole: true, Active: 4}}, nil
}

// It prints as many tables as were asked for, and not one before there are two
// readings.
func TestTopCounts(t *testing.T) {
	o := topOptions{interval: 10 * time.Millisecond, count: 2, format: "json", sort: "new"}
	var out bytes.Buffer
	reader := &counting{last: 3}
	if err := o.run(t.Context(), reader, &out, false); err != nil || reader.reads != 3 {
		t.Errorf("%d readings, %v", reader.reads, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d tables:\n%s", len(lines), out.String())
	}
	var got topTable
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if r := got.Services[0]; got.Schema != "kube-ipvs/top/v1" || r.Service != "default/web" || r.Connections != 30 || r.New <= 0 || r.Active == nil || *r.Active != 4 {
		t.Errorf("%s", lines[1])
	}
	if err := o.run(t.Context(), reader, &out, false); err == nil || !strings.Contains(err.Error(), "the kernel is gone") {
		t.Errorf("a failed reading is not told: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.run(ctx, &counting{last: 9}, &out, false); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// Virtual servers have the names of the entries that publish them.
func TestServerNames(t *testing.T) {
	s, _ := programmed()
	got := serverNames(desired.Config{Images: desired.DefaultImages, IPv6: true}, s)
	for server, want := range map[string]string{
		"10.96.0.10:80": "default web", "242.96.0.10:80": "default web", "240.168.50.200:80": "default api",
		"248.168.50.200:80": "default api", "252.0.0.1:30080": "default api", "10.96.0.99:80": " ",
	} {
		id := state.VirtualServerID(state.TCP, netip.MustParseAddrPort(server))
		if name := strings.Join([]string{got[id][0], got[id][1]}, " "); name != want {
			t.Errorf("%s is of %q, want %q", server, name, want)
		}
	}
}
