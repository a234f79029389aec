package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"kube-ipvs/test/lib/testbed"
)

// Scene is the place of a scenario: the World with a proxy on both nodes.
type Scene struct {
	*World
	Proxy    *Proxy
	scenario Scenario
	record   func(what, outcome string)
	numbers  *atomic.Int64 // the last number that a Service was given
	services []testbed.Service
	undo     []func(context.Context) error
	later    []func(context.Context) error
}

// Number completes a Service by a number that no other has at the same time,
// from which its addresses and ports follow, and by a name of its own.
func (s *Scene) Number(v testbed.Service) testbed.Service {
	v.Number = int(s.numbers.Add(1))
	s.services = append(s.services, v)
	v.Name = fmt.Sprintf("%s-%d", v.Name, v.Number)
	return v
}

// Service returns a Service of a Still by the name that it has there.
func (s *Scene) Service(name string) testbed.Service {
	i := slices.IndexFunc(s.services, func(v testbed.Service) bool { return v.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("scenario %s has no Service %q", s.scenario.Name, name))
	}
	v := s.services[i]
	v.Name = fmt.Sprintf("%s-%d", v.Name, v.Number)
	return v
}

// Apply makes or changes a Service and its endpoints. They go after the scenario.
func (s *Scene) Apply(ctx context.Context, v testbed.Service, backends ...testbed.Backend) error {
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	s.serve(v, backends)
	return s.Control.Apply(ctx, s.With(v, backends))
}

// ApplyText is Apply for a manifest. Services that it makes are to be removed by Undo.
func (s *Scene) ApplyText(ctx context.Context, manifest string) error {
	return s.Control.Apply(ctx, manifest)
}

// Undo has f called after the scenario, in the reverse order.
func (s *Scene) Undo(f func(context.Context) error) { s.undo = append(s.undo, f) }

// Later calls f when all other scenarios of the variant are over, for scenarios that
// need time. Objects of this one stay until then.
func (s *Scene) Later(f func(context.Context) error) { s.later = append(s.later, f) }

// Ask makes requests, and records the outcomes; label gives the time, and may be
// empty.
func (s *Scene) Ask(ctx context.Context, label string, asks ...Ask) {
	if label != "" {
		label += ": "
	}
	for i, outcome := range s.outcomes(ctx, asks) {
		s.record(label+asks[i].String(), outcome)
	}
}

// Record records another observation. It must be the same each time that a proxy
// behaves the same.
func (s *Scene) Record(what, outcome string) { s.record(what, outcome) }

// Shell runs a script on a host, now, and another after the scenario.
func (s *Scene) Shell(ctx context.Context, h *testbed.Host, script, undo string) error {
	if undo != "" {
		s.Undo(func(ctx context.Context) error {
			_, err := h.Shell(ctx, undo)
			return err
		})
	}
	_, err := h.Shell(ctx, script)
	return err
}

func (s *Scene) clean(ctx context.Context) error {
	var errs []error
	for _, f := range slices.Backward(s.undo) {
		errs = append(errs, f(ctx))
	}
	s.undo = nil
	return errors.Join(errs...)
}
