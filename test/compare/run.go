package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// run has one proxy play the scenarios, and records the outcomes.
type run struct {
	world   *World
	proxy   *Proxy
	results *Results
	out     io.Writer // progress
	numbers atomic.Int64
}

// limit of one scenario; a longer wait is in vain.
const limit = 4 * time.Minute

func (r *run) all(ctx context.Context, of []Scenario) error {
	began := time.Now()
	for _, v := range variants {
		var those []Scenario
		for _, s := range of {
			if s.Variant == v {
				those = append(those, s)
			}
		}
		if len(those) == 0 {
			continue
		}
		if err := r.variant(ctx, v, those); err != nil {
			return fmt.Errorf("%s: %w", r.proxy.Name, err)
		}
	}
	fmt.Fprintf(r.out, "%s has played all in %s\n", r.proxy.Name, time.Since(began).Round(time.Second))
	return nil
}

// variant starts the proxy on an empty cluster, plays and stops it. A proxy that
// cannot be started has played nothing, which is recorded of each scenario.
func (r *run) variant(ctx context.Context, v Variant, of []Scenario) error {
	r.numbers.Store(firstNumber)
	if err := r.world.Control.Clear(ctx); err != nil {
		return err
	}
	err := r.proxy.Start(ctx, r.world, v)
	if err == nil {
		err = r.play(ctx, of)
	} else {
		for _, s := range of {
			r.results.fail(r.proxy, s, err)
		}
		fmt.Fprintf(r.out, "%s does not start: %v\n", r.proxy.Name, err)
		err = nil
	}
	return errors.Join(err, r.proxy.Stop(context.WithoutCancel(ctx), r.world))
}

// firstNumber of a Service: those up to 12 have addresses in the LAN, which a
// scenario takes by itself if it is about that.
const firstNumber = 12

func (r *run) play(ctx context.Context, of []Scenario) error {
	if err := r.stills(ctx, of); err != nil {
		return err
	}
	kept, err := r.plays(ctx, of)
	if err != nil {
		return err
	}
	for _, scene := range kept {
		for _, f := range scene.later {
			_ = r.bounded(ctx, scene.scenario, func(ctx context.Context, _ *Scene) error { return f(ctx) }, scene)
		}
		if err := scene.clean(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sideBySide is how many Plays that do not mind each other are played at a time:
// most of a Play is to wait for proxies.
const sideBySide = 3

// plays plays all, and returns the Scenes that are not over.
func (r *run) plays(ctx context.Context, of []Scenario) ([]*Scene, error) {
	var kept []*Scene
	var errs []error
	var mu sync.Mutex
	one := func(s Scenario) {
		scene, err := r.one(ctx, s)
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		if scene != nil {
			kept = append(kept, scene)
		}
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, sideBySide)
	for _, s := range of {
		if s.Play != nil && s.Together {
			slots <- struct{}{}
			all.Go(func() {
				one(s)
				<-slots
			})
		}
	}
	all.Wait()
	for _, s := range of {
		if s.Play != nil && !s.Together {
			one(s)
		}
	}
	return kept, errors.Join(errs...)
}

// one plays a scenario, and returns its Scene if something of it is for later.
func (r *run) one(ctx context.Context, s Scenario) (*Scene, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	began := time.Now()
	scene := r.scene(s)
	err := r.bounded(ctx, s, s.Play, scene)
	fmt.Fprintf(r.out, "%s: %s / %s: %s\n", r.proxy.Name, s.Chapter, s.Name, time.Since(began).Round(100*time.Millisecond))
	if len(scene.later) > 0 && err == nil {
		return scene, nil
	}
	if err := scene.clean(ctx); err != nil {
		return nil, fmt.Errorf("clean up after %q: %w", s.Name, err)
	}
	return nil, nil
}

// bounded calls f, and records why it could not be done.
func (r *run) bounded(ctx context.Context, s Scenario, f func(context.Context, *Scene) error, scene *Scene) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(bounded, scene)
	if err != nil && ctx.Err() == nil {
		r.results.fail(r.proxy, s, err)
		fmt.Fprintf(r.out, "%s: %s / %s: %v\n", r.proxy.Name, s.Chapter, s.Name, err)
	}
	return err
}

func (r *run) scene(s Scenario) *Scene {
	return &Scene{
		World: r.world, Proxy: r.proxy, scenario: s, numbers: &r.numbers,
		record: func(what, outcome string) { r.results.record(r.proxy, s, what, outcome) },
	}
}

// stills sets all that do not change up at once, and makes all requests at once.
func (r *run) stills(ctx context.Context, of []Scenario) error {
	began := time.Now()
	var scenes []*Scene
	for _, s := range of {
		if s.Still == nil {
			continue
		}
		scene := r.scene(s)
		for _, v := range s.Still.Services {
			name := v.Name
			v.Service = scene.Number(v.Service)
			scene.services[len(scene.services)-1].Name = name
			backends := v.Backends
			if backends == nil {
				backends = func(*World) []testbed.Backend { return nil }
			}
			if err := scene.Apply(ctx, v.Service, backends(r.world)...); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		scenes = append(scenes, scene)
	}
	if len(scenes) == 0 {
		return nil
	}
	if err := r.proxy.programmed(ctx, r.world); err != nil {
		return err
	}
	var asks []Ask
	var whose []*Scene
	for _, scene := range scenes {
		own := scene.scenario.Still.Asks(scene)
		asks, whose = append(asks, own...), append(whose, slices.Repeat([]*Scene{scene}, len(own))...)
	}
	for i, outcome := range r.world.outcomes(ctx, asks) {
		whose[i].record(asks[i].String(), outcome)
	}
	fmt.Fprintf(r.out, "%s: %d still scenarios with %d requests: %s\n", r.proxy.Name, len(scenes), len(asks), time.Since(began).Round(100*time.Millisecond))
	for _, scene := range scenes {
		if err := scene.clean(ctx); err != nil {
			return err
		}
	}
	return nil
}
