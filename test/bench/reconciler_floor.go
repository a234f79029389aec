package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// floor is a program that sends the kernel the messages of a loop, in the same
// batches. It makes the messages before the clock starts.
type floor struct{ *Figure }

// sockets are the sockets of the floor.
type sockets struct {
	ipvs  *ipvs.Client
	ipset *ipset.Client
	links *netutil.Links
	rest  *kernel.Linux // for writes that are not batched

	device int // kube-ipvs0
}

func openSockets(ctx context.Context) (*sockets, error) {
	s := &sockets{}
	var errs [4]error
	s.ipvs, errs[0] = ipvs.Open()
	s.ipset, errs[1] = ipset.Open()
	s.links, errs[2] = netutil.OpenLinks()
	s.rest, errs[3] = kernel.OpenLinux(ctx, kernelOptions())
	return s, errors.Join(errs[:]...)
}

func (s *sockets) close() error {
	return errors.Join(s.ipvs.Close(), s.ipset.Close(), s.links.Close(), s.rest.Close())
}

// replay carries plans out and notes the time, and the messages.
func (f *floor) replay(ctx context.Context, s *sockets, plans []state.Plan) error {
	// Objects that others need are not sent in batches.
	i := slices.IndexFunc(plans, func(p state.Plan) bool { return len(p) > 0 && p[0].ID.Kind > state.Rules })
	if i < 0 {
		return errors.New("nothing was recorded")
	}
	began := time.Now()
	if err := s.apply(ctx, plans[:i]); err != nil {
		return err
	}
	took := time.Since(began)
	var err error
	if s.device, _, _, err = s.links.FindDummy(kernel.LinkName); err != nil {
		return err
	}
	sends := s.encode(plans[i:])
	before := s.stats()
	began = time.Now()
	for _, send := range sends {
		if errs := send(ctx); errs != nil {
			return errors.Join(errs...)
		}
	}
	f.Samples = append(f.Samples, ms(took+time.Since(began)))
	f.Counts = countsOf(s.stats().Since(before))
	return nil
}

func (s *sockets) apply(ctx context.Context, plans []state.Plan) error {
	for _, p := range plans {
		if errs := s.rest.Apply(ctx, p); errs != nil {
			return errors.Join(errs...)
		}
	}
	return nil
}

func (s *sockets) stats() kernel.Stats {
	out := s.rest.Stats()
	for _, n := range []netutil.Stats{s.ipvs.Stats(), s.ipset.Stats(), s.links.Stats()} {
		out.Messages += n.Messages
		out.Sends += n.Sends
		out.Bytes += n.Bytes
	}
	return out
}

// encode turns plans into calls that each send one batch.
func (s *sockets) encode(plans []state.Plan) []func(context.Context) []error {
	var out []func(context.Context) []error
	for _, p := range plans {
		b := &netutil.Batch{}
		exec := s.ipset.Exec
		switch p[0].ID.Kind {
		case state.VirtualServer, state.RealServer:
			exec = s.ipvs.Exec
		case state.VIP, state.Route:
			exec = s.links.Exec
		case state.Entry:
		default:
			out = append(out, func(ctx context.Context) []error { return s.rest.Apply(ctx, p) })
			continue
		}
		for _, op := range p {
			s.message(b, op)
		}
		out = append(out, func(context.Context) []error { return exec(b) })
	}
	return out
}

// message adds an op's requests, as kernel.Linux does.
func (s *sockets) message(b *netutil.Batch, op state.Op) {
	id, spec, gone := op.ID, op.Spec.Value(), op.Verb == state.Delete
	svc := &moby.Service{AddressFamily: unix.AF_INET, Protocol: uint16(id.Proto), Address: id.Addr().AsSlice(), Port: id.Port,
		SchedName: spec.Scheduler, Flags: spec.Flags, Timeout: spec.Timeout}
	switch id.Kind {
	case state.VirtualServer:
		map[state.Verb]func(*netutil.Batch, *moby.Service){state.Add: s.ipvs.NewService, state.Change: s.ipvs.SetService, state.Delete: s.ipvs.DelService}[op.Verb](b, svc)
	case state.RealServer:
		dest := &moby.Destination{AddressFamily: unix.AF_INET, Address: id.Peer().AsSlice(), Port: id.PeerPort, Weight: int(spec.Weight)}
		map[state.Verb]func(*netutil.Batch, *moby.Service, *moby.Destination){state.Add: s.ipvs.NewDest, state.Change: s.ipvs.SetDest, state.Delete: s.ipvs.DelDest}[op.Verb](b, svc, dest)
	case state.VIP:
		if gone {
			netutil.DeleteVIPRoute(b, id.Addr())
			if !op.Old.Value().Bare {
				netutil.DeleteAddress(b, s.device, id.Addr())
			}
			return
		}
		netutil.ReplaceVIPRoute(b, id.Addr(), spec.Source, spec.MTU)
		if !spec.Bare {
			netutil.AddVIP(b, s.device, id.Addr())
		}
	case state.Entry:
		e := ipset.Entry{Addr: id.Addr(), Bits: uint8(id.Addr().BitLen()), Proto: uint8(id.Proto), Port: id.Port, Peer: id.Peer(), Comment: spec.Text}
		if gone {
			ipset.DeleteEntry(b, id.Set.Kernel(id.Family()), ipset.Type(id.Set.Type()), e)
		} else {
			ipset.AddEntry(b, id.Set.Kernel(id.Family()), ipset.Type(id.Set.Type()), e)
		}
	}
}

// inverse returns the plans that undo plans.
func inverse(plans []state.Plan) []state.Plan {
	var out []state.Plan
	for _, p := range slices.Backward(plans) {
		var q state.Plan
		for _, op := range slices.Backward(p) {
			switch op.Verb {
			case state.Add:
				op.Verb, op.Old, op.Spec = state.Delete, op.Spec, state.None
			case state.Delete:
				op.Verb, op.Spec = state.Add, op.Old
			default:
				op.Spec, op.Old = op.Old, op.Spec
			}
			q = append(q, op)
		}
		out = append(out, q)
	}
	return out
}

// lastOf returns how many of the last plans have that many ops together: those
// of the last round.
func lastOf(plans []state.Plan, messages float64) int {
	n := 0
	for i, p := range slices.Backward(plans) {
		if n += len(p); float64(n) >= messages {
			return len(plans) - i
		}
	}
	return len(plans)
}

// readAll reads everything that is programmed, without looking at it.
func readAll(ctx context.Context) (time.Duration, error) {
	s, err := openSockets(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	began := time.Now()
	err = s.read(ctx)
	return time.Since(began), err
}

func (s *sockets) read(ctx context.Context) error {
	generic, err := netutil.Dial(unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	defer generic.Close()
	netfilter, err := netutil.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer netfilter.Close()
	sets, err := s.ipset.Sets()
	if err != nil {
		return err
	}
	ignore := func(uint16, []byte) error { return nil }
	for _, set := range sets {
		b := &netutil.Batch{}
		b.Begin(unix.NFNL_SUBSYS_IPSET<<8|nl.IPSET_CMD_LIST, 0, unix.AF_NETLINK, nl.NFNETLINK_V0, 0, 0)
		b.U8(nl.IPSET_ATTR_PROTOCOL, nl.IPSET_PROTOCOL)
		b.String(nl.IPSET_ATTR_SETNAME, set.Name)
		if err := netfilter.Dump(b, ignore); err != nil {
			return err
		}
	}
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return err
	}
	const getService = 4 // IPVS_CMD_GET_SERVICE of linux/ip_vs.h
	b := &netutil.Batch{}
	b.Begin(family.ID, 0, getService, 1, 0, 0)
	if err := generic.Dump(b, ignore); err != nil {
		return err
	}
	if _, err := s.links.Addresses(); err != nil {
		return err
	}
	if _, err := s.links.LocalRoutes(); err != nil {
		return err
	}
	f, err := os.Open("/proc/thread-self/net/ip_vs")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, make([]byte, 256<<10)); err != nil {
		return err
	}
	for family, prefix := range map[netutil.Family]string{netutil.IPv4: state.Prefix4, netutil.IPv6: state.Prefix6} {
		if _, err := s.rest.Backend().ReadRules(ctx, family, netutil.Ours{Prefix: prefix}); err != nil {
			return err
		}
	}
	return nil
}
