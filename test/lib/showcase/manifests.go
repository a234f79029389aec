package showcase

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/explain"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// readingTime is far more than it takes to read a folder of manifests.
const readingTime = time.Minute

// Follow has the loop program the manifests of a folder, and returns the first round that has
// all of them.
func (n *Node) Follow(folder string) (*report.Round, error) {
	if err := read(folder, n.Proxier); err != nil {
		return nil, err
	}
	var first *report.Round
	n.Await(func(r *report.Round) bool { first = r; return r.Full && r.NotReady == "" })
	return first, nil
}

// Preview returns what a start with the manifests of a folder would write now.
func (n *Node) Preview(folder string) (*desired.Preview, error) {
	p := proxier.New(kernel.ReadOnly{Kernel: n.Kernel}, n.loop)
	if err := read(folder, p); err != nil {
		return nil, err
	}
	return p.Preview(context.Background())
}

// Explain tells the way of a packet of a client to what a Preview shows.
func (n *Node) Explain(p *desired.Preview, query string, from netip.Addr) ([]*explain.Explanation, error) {
	q, err := explain.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	node := &explain.Node{Preview: p, Addresses: append([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, p.Facts.NodeIPs...), Conns: map[state.ID]uint32{}}
	for _, family := range state.Families(true) {
		node.Rules[family] = p.Config.Rules(family)
	}
	return node.Explain(q, from)
}

// read has a loop get the objects of a folder.
func read(folder string, to *proxier.Proxier) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sink := &reader{Proxier: to, all: make(chan struct{})}
	failed := make(chan error, 1)
	go func() { failed <- source.Manifests([]string{folder}, slog.New(slog.DiscardHandler)).Run(ctx, sink) }()
	select {
	case <-sink.all:
		return nil
	case err := <-failed:
		return err
	case <-time.After(readingTime):
		return fmt.Errorf("the manifests of %s were not read within %s", folder, readingTime)
	}
}

// reader is a loop that closes all when the source has delivered what it can read.
type reader struct {
	*proxier.Proxier
	once sync.Once
	all  chan struct{}
}

func (r *reader) Loaded() { r.Proxier.Loaded(); r.once.Do(func() { close(r.all) }) }
func (r *reader) Synced() { r.Proxier.Synced(); r.once.Do(func() { close(r.all) }) }
