package life

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// daemon is a kube-ipvs that runs on a node.
type daemon struct {
	*testbed.Daemon
	n     *node
	pid   int
	ended bool
}

// stop ends the daemon as a service manager does.
func (d *daemon) stop() {
	d.n.t.Helper()
	d.ended = true
	if err := d.Stop(); err != nil {
		d.n.t.Fatalf("stop: %v", err)
	}
}

// kill ends it as the kernel does when memory is short.
func (d *daemon) kill() {
	d.ended = true
	d.Kill()
}

// record is a line of the log.
type record struct {
	Time       time.Time
	Level, Msg string
	// Of rounds.
	Round, Services, Writes, Failed, Drift, Messages, Sends, Processes int

	Full bool
	Took time.Duration
	// Of failures, drift and problems.
	Op, Err, What, Origin, Object, Field, Was string
	Because                                   string // of audits
}

// records returns the whole lines of the log.
func (d *daemon) records() []record {
	d.n.t.Helper()
	var out []record
	for line := range strings.Lines(d.Log()) {
		var r record
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "\n") {
			continue
		}
		if err := json.NewDecoder(bytes.NewBufferString(line)).Decode(&r); err != nil {
			d.n.t.Fatalf("the log says %q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

// rounds returns the rounds among records.
func rounds(all []record) []record {
	return slices.DeleteFunc(slices.Clone(all), func(r record) bool { return r.Msg != "round" })
}

// awaitRound waits for the first round from record number since on that ok
// accepts.
func (d *daemon) awaitRound(since int, ok func(record) bool) record {
	d.n.t.Helper()
	return d.awaitRecord(since, func(r record) bool { return r.Msg == "round" && ok(r) })
}

func (d *daemon) awaitRecord(since int, ok func(record) bool) record {
	d.n.t.Helper()
	var found record
	d.n.await(func() error {
		ended, all := d.Ended(), d.records()
		for _, r := range all[min(since, len(all)):] {
			if ok(r) {
				found = r
				return nil
			}
		}
		if ended {
			d.n.t.Fatal("kube-ipvs has ended, and its log does not say the awaited line")
		}
		return fmt.Errorf("the log does not say the awaited line")
	})
	return found
}

// first waits for the first round.
func (d *daemon) first() record {
	d.n.t.Helper()
	return d.awaitRound(0, func(record) bool { return true })
}

// wroteNothing checks the first round of a start over a programmed node.
func (d *daemon) wroteNothing() {
	d.n.t.Helper()
	if r := d.first(); r.Writes != 0 || r.Failed != 0 || !r.Full {
		d.n.t.Errorf("the first round: writes=%d failed=%d full=%v, want 0, 0, true", r.Writes, r.Failed, r.Full)
	}
}
