package main

import (
	"context"
	"fmt"
	"slices"

	"kube-ipvs/test/lib/testbed"
)

// Scenario is a situation that every proxy is put into, and what is observed in
// it. What is right is nowhere written down: it is what kube-proxy's iptables
// mode was seen to do in the same run. It has either a Still or a Play.
type Scenario struct {
	Chapter string  // where the report has it: see chapter
	Name    string  // unique within the chapter
	Variant Variant // how the proxy is configured
	Still   *Still
	// Together tells that the Play does not mind others at the same time: it
	// touches nothing but Services of its own.
	Together bool
	// Play puts objects there, changes them, asks, and records, all by the Scene.
	// Its error means that the scenario could not be played, which is recorded.
	Play func(ctx context.Context, s *Scene) error
}

// Still is a situation that does not change: Services with their endpoints, and
// requests to them. All of one variant are set up at once, and asked at once.
type Still struct {
	Services []Backed
	Asks     func(s *Scene) []Ask
}

// Backed is a Service with its endpoints. Its number is given by the Scene.
type Backed struct {
	testbed.Service
	Backends func(w *World) []testbed.Backend // nil: none
}

// Variant is a configuration that all proxies are given alike.
type Variant string

// The variants.
const (
	Base          Variant = ""                // the pods' CIDRs as cluster CIDR
	NoClusterCIDR Variant = "no cluster CIDR" // nothing tells local traffic
	MasqueradeAll Variant = "masquerade-all"
	ShortTimeouts Variant = "short IPVS timeouts" // of 5 s
	Legacy        Variant = "iptables-legacy"
	// LocalhostPorts gives the explicit form of the default of iptables mode.
	LocalhostPorts Variant = "iptables.localhostNodePorts: true"
)

var variants = []Variant{Base, NoClusterCIDR, MasqueradeAll, ShortTimeouts, Legacy, LocalhostPorts}

// all returns the scenarios in the order of the report.
func all() []Scenario {
	return slices.Concat(
		reachScenarios(),
		rangeScenarios(),
		unservedScenarios(),
		topologyScenarios(),
		affinityScenarios(),
		spreadScenarios(),
		packetScenarios(),
		hostScenarios(),
		dnatScenarios(),
		inputScenarios(),
		idleScenarios(), // early: the other scenarios run during the silence
		endingScenarios(),
		datagramScenarios(),
		changeScenarios(),
		restartScenarios(),
		clashScenarios(),
		targetScenarios(),
		localhostScenarios(),
		policyScenarios(),
		refuseScenarios(),
		bridgeScenarios(),
		sourceScenarios(),
		familyScenarios(),
		oddScenarios(),
	)
}

// chapter puts scenarios into one.
func chapter(name string, of ...Scenario) []Scenario {
	for i := range of {
		of[i].Chapter = name
	}
	return of
}

// together marks Plays that do not mind each other.
func together(of ...Scenario) []Scenario {
	for i := range of {
		of[i].Together = true
	}
	return of
}

// check reports faults in the scenarios themselves.
func check(all []Scenario) error {
	seen := map[string]bool{}
	for _, s := range all {
		id := s.Chapter + " / " + s.Name
		switch {
		case seen[id]:
			return fmt.Errorf("two scenarios are named %q", id)
		case (s.Still == nil) == (s.Play == nil):
			return fmt.Errorf("scenario %q must have either Still or Play", id)
		case !slices.Contains(variants, s.Variant):
			return fmt.Errorf("scenario %q: no variant %q", id, s.Variant)
		}
		seen[id] = true
	}
	return nil
}

// hosts makes ready endpoints of hosts, chosen when the World is there.
func hosts(choose func(w *World) []*testbed.Host) func(*World) []testbed.Backend {
	return func(w *World) []testbed.Backend { return testbed.Backends(choose(w)...) }
}

// onBoth are endpoints on this node and on the other.
var onBoth = hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.P1, w.R1} })

// onThis are endpoints on this node.
var onThis = hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.P1} })

// onOther are endpoints on the other node.
var onOther = hosts(func(w *World) []*testbed.Host { return []*testbed.Host{w.R1} })
