package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	kube "kube-ipvs/test/lib/cluster"
)

// requester is the user under which a proxy asks the API server in the part requests.
// No other program is that user.
const requester = kube.Guest

// reading is the bytes, connections and requests between the node and the API server so far, and the
// API server's cost.
type reading struct {
	received, sent float64 // bytes of the node, as they are on the wire: with all headers, after TLS
	connections    float64 // that the node tried to open
	requests       map[kube.Request]int
	cpu            float64 // s of the API server's process
}

// count begins to count: by rules on the API server's host that do nothing else.
func (l *lab) count(ctx context.Context) error {
	server, err := l.server()
	if err != nil {
		return err
	}
	_, err = l.Ext.Shell(ctx, fmt.Sprintf(`iptables -t mangle -A PREROUTING -p tcp -s %[1]s --dport %[2]d
iptables -t mangle -A PREROUTING -p tcp -s %[1]s --dport %[2]d --syn
iptables -t mangle -A POSTROUTING -p tcp -d %[1]s --sport %[2]d`, l.Node.IPv4, server.Port()))
	return err
}

// server returns where the API server is asked.
func (l *lab) server() (netip.AddrPort, error) {
	u, err := url.Parse(l.control.Address())
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(u.Host)
}

// bytes reads the counters of count.
func (l *lab) bytes(ctx context.Context) (reading, error) {
	rules, err := l.Ext.Shell(ctx, "iptables-save -c -t mangle")
	return counted(rules), err
}

func counted(rules string) reading {
	var r reading
	for line := range strings.Lines(rules) {
		var packets, bytes float64
		if _, err := fmt.Sscanf(line, "[%f:%f]", &packets, &bytes); err != nil {
			continue
		}
		switch {
		case strings.Contains(line, "SYN"):
			r.connections = packets
		case strings.Contains(line, "-A PREROUTING"):
			r.sent = bytes
		case strings.Contains(line, "-A POSTROUTING"):
			r.received = bytes
		}
	}
	return r
}

// read reads all that is counted.
func (l *lab) read(ctx context.Context) (reading, error) {
	r, err := l.bytes(ctx)
	if err != nil {
		return r, err
	}
	if r.requests, err = l.control.Requests(requester); err != nil {
		return r, err
	}
	cpu, err := kube.CPUOf(l.control.API.PID())
	r.cpu = cpu.Seconds()
	return r, err
}

// since returns the difference from an earlier reading.
func (r reading) since(before reading) reading {
	out := reading{
		received: r.received - before.received, sent: r.sent - before.sent, connections: r.connections - before.connections,
		cpu: r.cpu - before.cpu, requests: map[kube.Request]int{},
	}
	for sort, n := range r.requests {
		if n -= before.requests[sort]; n > 0 {
			out.requests[sort] = n
		}
	}
	return out
}

// asked counts the requests that are meant.
func (r reading) asked(meant func(kube.Request) bool) int {
	n := 0
	for sort, times := range r.requests {
		if meant(sort) {
			n += times
		}
	}
	return n
}

// whole tells whether a request is answered by all objects of a kind.
func whole(r kube.Request) bool { return r.Verb == "list" || r.Streams }

// resumed tells whether the API server answers a request with changes only.
func resumed(r kube.Request) bool { return r.Verb == "watch" && !r.Streams }

// followed tells whether all objects that a proxy follows are asked for.
func (r reading) followed() bool {
	for _, kind := range []string{"services", "endpointslices"} {
		if r.asked(func(q kube.Request) bool { return q.Verb == "watch" && q.Resource == kind }) == 0 {
			return false
		}
	}
	return true
}

// block adds rules of iptables on the API server's host, until the returned function is
// called.
func (l *lab) block(ctx context.Context, rules []string) (mend func() error, err error) {
	all := func(ctx context.Context, what string) error {
		var errs []error
		for _, rule := range rules {
			_, err := l.Ext.Shell(ctx, "iptables "+what+" "+rule)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return func() error { return all(context.WithoutCancel(ctx), "-D") }, all(ctx, "-I")
}
