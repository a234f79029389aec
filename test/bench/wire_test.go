package main

import (
	"testing"

	kube "kube-ipvs/test/lib/cluster"
)

func TestCounted(t *testing.T) {
	const rules = `*mangle
:PREROUTING ACCEPT [17:1700]
[9:900] -A PREROUTING -s 192.168.50.1/32 -p tcp -m tcp --dport 6443
[2:120] -A PREROUTING -s 192.168.50.1/32 -p tcp -m tcp --dport 6443 --tcp-flags FIN,SYN,RST,ACK SYN
[8:8000] -A POSTROUTING -d 192.168.50.1/32 -p tcp -m tcp --sport 6443
COMMIT
`
	if r := counted(rules); r.sent != 900 || r.received != 8000 || r.connections != 2 {
		t.Errorf("got %+v", r)
	}
}

func TestReading(t *testing.T) {
	list := func(resource string) kube.Request { return kube.Request{Verb: "list", Resource: resource} }
	watch := func(resource string, streams bool) kube.Request {
		return kube.Request{Verb: "watch", Resource: resource, Streams: streams}
	}
	before := reading{requests: map[kube.Request]int{list("services"): 1, watch("services", false): 1}}
	after := reading{requests: map[kube.Request]int{list("services"): 1, watch("services", false): 2, watch("endpointslices", true): 1}}
	r := after.since(before)
	if r.asked(whole) != 1 || r.asked(resumed) != 1 || !r.followed() || anew(r) {
		t.Errorf("got %+v", r)
	}
	after.requests[list("services")]++
	if r := after.since(before); !anew(r) {
		t.Errorf("got %+v", r)
	}
}
