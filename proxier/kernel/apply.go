package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// lane is a netlink socket that takes many ops at once.
type lane struct {
	encode func(*Linux, *netutil.Batch, *state.Op) error
	exec   func(*Linux, *netutil.Batch) []error
	// judge turns the errors of an op's requests into the op's error.
	judge func(op state.Op, errs []error) error
	// early reports whether a request of an op came too early to find its object; late
	// gets all such ops.
	early func(op state.Op, errs []error) bool
	late  func(l *Linux, early []state.Op)
}

var lanes = map[state.Kind]*lane{
	state.VirtualServer: &servers, state.RealServer: &servers, state.Entry: &entries, state.VIP: &addresses, state.Route: &addresses,
}

var (
	servers = lane{
		encode: (*Linux).encodeServer,
		exec:   func(l *Linux, b *netutil.Batch) []error { return l.ipvs.Exec(b) },
		judge:  judgeServer,
	}
	entries = lane{
		encode: (*Linux).encodeEntry,
		exec:   func(l *Linux, b *netutil.Batch) []error { return l.ipset.Exec(b) },
		judge:  judgeEntry,
	}
	addresses = lane{
		encode: (*Linux).encodeAddress,
		exec:   func(l *Linux, b *netutil.Batch) []error { return l.links.Exec(b) },
		judge:  judgeAddress,
		early:  cameBeforeRoute,
		late:   (*Linux).dropKernelRoutes,
	}
)

// Apply is part of Kernel.
func (l *Linux) Apply(ctx context.Context, plan state.Plan) []error {
	l.index = 0 // another program may have made the device anew
	errs := make([]error, len(plan))
	for from := 0; from < len(plan); {
		to := from + 1
		lane := lanes[plan[from].ID.Kind]
		for to < len(plan) && lanes[plan[to].ID.Kind] == lane && (lane != nil || plan[to].ID.Kind == plan[from].ID.Kind) {
			to++
		}
		switch {
		case lane != nil:
			l.applyLane(lane, plan[from:to], errs[from:to])
		default:
			for i := from; i < to; i++ {
				errs[i] = l.applyOne(ctx, plan[i])
			}
		}
		from = to
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	return errs
}

// applyLane sends the requests of all ops, as many together as one send takes. It reuses
// the batch, so that memory does not grow with the plan.
func (l *Linux) applyLane(lane *lane, ops []state.Op, errs []error) {
	var early []state.Op
	for len(ops) > 0 {
		l.batch.Reset()
		l.ends = l.ends[:0]
		for len(l.ends) < len(ops) && !l.batch.Full() {
			i := len(l.ends)
			errs[i] = lane.encode(l, &l.batch, &ops[i])
			l.ends = append(l.ends, l.batch.Len())
		}
		n := len(l.ends)
		early = append(early, l.applySome(lane, ops[:n], errs[:n])...)
		ops, errs = ops[n:], errs[n:]
	}
	if len(early) > 0 {
		lane.late(l, early)
	}
}

// applySome sends the encoded requests of ops, and returns the ops that were early.
func (l *Linux) applySome(lane *lane, ops []state.Op, errs []error) []state.Op {
	results := lane.exec(l, &l.batch)
	if results == nil {
		return nil
	}
	var early []state.Op
	at := 0
	for i, op := range ops {
		each := results[at:l.ends[i]]
		if errs[i] == nil {
			errs[i] = lane.judge(op, each)
		}
		if lane.early != nil && lane.early(op, each) {
			early = append(early, op)
		}
		at = l.ends[i]
	}
	return early
}

// first returns the first error that is none of ignored.
func first(errs []error, ignored ...error) error {
	for _, err := range errs {
		if err != nil && !slices.ContainsFunc(ignored, func(i error) bool { return errors.Is(err, i) }) {
			return err
		}
	}
	return nil
}

// stale wraps ErrStale around an error after which the kernel must be read.
func stale(err error, signs ...error) error {
	for _, s := range append(signs, netutil.ErrUnknownFate) {
		if errors.Is(err, s) {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
	}
	return err
}

func (l *Linux) encodeEntry(b *netutil.Batch, op *state.Op) error {
	id := op.ID
	e := ipset.Entry{
		Addr: id.Addr(), Bits: uint8(id.Addr().BitLen()), Proto: uint8(id.Proto), Port: id.Port,
		Peer: id.Peer(), Comment: op.Spec.Value().Text,
	}
	switch id.Set.Type() {
	case state.HashNetPort:
		e.Bits = id.Bits
	case state.HashIPPortNet:
		e.PeerBits = id.Bits
	}
	name, kind := id.Set.Kernel(id.Family()), ipset.Type(id.Set.Type())
	if op.Verb == state.Delete {
		ipset.DeleteEntry(b, name, kind, e)
	} else {
		ipset.AddEntry(b, name, kind, e)
	}
	return nil
}

func judgeEntry(_ state.Op, errs []error) error {
	return stale(ipset.Error(first(errs)), ipset.ErrNotFound)
}

func (l *Linux) encodeAddress(b *netutil.Batch, op *state.Op) error {
	id, spec := op.ID, op.Spec.Value()
	if id.Kind == state.Route {
		p := netip.PrefixFrom(id.Addr(), int(id.Bits))
		if op.Verb == state.Delete {
			netutil.DeleteImageRoute(b, loopback, p)
		} else {
			netutil.AddImageRoute(b, loopback, p)
		}
		return nil
	}
	index, err := l.device()
	if err != nil {
		return err
	}
	if op.Verb != state.Delete && !spec.Bare && index == noDevice {
		return fmt.Errorf("%w: there is no link %s", ErrStale, LinkName)
	}
	encodeVIP(b, index, op)
	return nil
}

// encodeVIP adds the requests of a write of a VIP. The route comes before the address, so
// that the address is never the source of the node's own packets to it. The route stays
// when the address goes, so that a VIP stays the node's own while its binding changes.
func encodeVIP(b *netutil.Batch, index int, op *state.Op) {
	ip, spec := op.ID.Addr(), op.Spec.Value()
	wrong := wasWrong(op)
	was := wrong || op.Verb != state.Add && !op.Old.Value().Bare // an address
	switch {
	case op.Verb == state.Delete:
		netutil.DeleteVIPRoute(b, ip)
	case op.Verb == state.Change && !wrong:
		netutil.ReplaceVIPRoute(b, ip, spec.Source, spec.MTU)
	default:
		netutil.AddVIPRoute(b, ip, spec.Source, spec.MTU)
		if wrong {
			netutil.DeleteVIPRouteOf(b, index, ip)
		}
	}
	// A wrong IPv4 address cannot be changed in place.
	if was && (op.Verb == state.Delete || spec.Bare || wrong && ip.Is4()) {
		netutil.DeleteAddress(b, index, ip)
	}
	if binds(op) {
		netutil.AddVIP(b, index, ip)
		if ip.Is6() {
			netutil.DeleteKernelRoute(b, index, ip)
		}
	}
}

// binds reports whether a write of a VIP adds its address to the device.
func binds(op *state.Op) bool {
	there := op.Verb == state.Change && !wasWrong(op) && !op.Old.Value().Bare
	return op.ID.Kind == state.VIP && op.Verb != state.Delete && !op.Spec.Value().Bare && !there
}

// wasWrong reports whether a write repairs a VIP with a wrong address or route.
func wasWrong(op *state.Op) bool {
	return op.Verb != state.Add && op.Old.Value().Condition == state.WrongRoute
}

// noDevice is an index that no link has: requests for it find no link.
const noDevice = 1<<31 - 1

// device returns the index of the dummy device, looked up once a plan.
func (l *Linux) device() (int, error) {
	if l.index != 0 {
		return l.index, nil
	}
	index, _, exists, err := l.links.FindDummy(LinkName)
	switch {
	case err != nil:
		return 0, err
	case !exists:
		return noDevice, nil
	}
	l.index = index
	return index, nil
}

func judgeAddress(op state.Op, errs []error) error {
	if op.Verb == state.Delete {
		return stale(first(errs, unix.ESRCH, unix.ENOENT, unix.EADDRNOTAVAIL, unix.ENODEV))
	}
	// ESRCH: the route to delete was missing, or see dropKernelRoutes. EADDRNOTAVAIL: the
	// address was.
	return stale(first(errs, unix.ESRCH, unix.EADDRNOTAVAIL), unix.ENODEV)
}

// cameBeforeRoute reports whether the request to delete the kernel's own route of a new
// IPv6 address came before the kernel had made that route.
func cameBeforeRoute(op state.Op, errs []error) bool {
	n := len(errs)
	return n > 0 && binds(&op) && op.ID.Addr().Is6() && errors.Is(errs[n-1], unix.ESRCH)
}

// dropKernelRoutes deletes the kernel's own routes of such addresses, which the kernel
// makes in a work queue. It waits 0.1 s at most; an audit finds a route that comes later.
func (l *Linux) dropKernelRoutes(early []state.Op) {
	for wait := time.Millisecond; len(early) > 0 && wait < 100*time.Millisecond; wait *= 2 {
		time.Sleep(wait)
		l.batch.Reset()
		for _, op := range early {
			netutil.DeleteKernelRoute(&l.batch, l.index, op.ID.Addr())
		}
		errs := l.links.Exec(&l.batch)
		var still []state.Op
		for i, op := range early {
			if errs != nil && errors.Is(errs[i], unix.ESRCH) {
				still = append(still, op)
			}
		}
		early = still
	}
}

// applyOne executes an op that cannot be sent in a batch.
func (l *Linux) applyOne(ctx context.Context, op state.Op) error {
	switch op.ID.Kind {
	case state.Setting:
		return l.set(op)
	case state.Link:
		return l.link(op)
	case state.Set:
		name := op.ID.Set.Kernel(op.ID.Family())
		if op.Verb == state.Delete {
			return l.ipset.Destroy(name)
		}
		return l.ipset.Create(ipset.Set{Name: name, Type: ipset.Type(op.ID.Set.Type()), Family: op.ID.Family().Inet(), Comments: op.ID.Set.Comments(), Counters: op.ID.Set.Refuses()})
	case state.Rules:
		return l.restore(ctx, op)
	}
	return fmt.Errorf("kube-ipvs does not know how to %s", op)
}

func (l *Linux) set(op state.Op) error {
	value := op.Spec.Value().Text
	switch {
	case op.Verb == state.Delete:
		return nil // settings stay
	case op.ID.Setting.Path() != "":
		return netutil.WriteSysctl(op.ID.Setting.Path(), value)
	}
	seconds, err := strconv.Atoi(value)
	if err != nil {
		return err
	}
	var tcp, fin, udp time.Duration // 0: SetTimeouts leaves it alone
	*map[state.SettingKey]*time.Duration{
		state.IPVSTCPTimeout: &tcp, state.IPVSTCPFinTimeout: &fin, state.IPVSUDPTimeout: &udp,
	}[op.ID.Setting] = time.Duration(seconds) * time.Second
	return l.ipvs.SetTimeouts(tcp, fin, udp)
}

func (l *Linux) link(op state.Op) error {
	l.index = 0 // the ops that follow find another device, or none
	index, alias, exists, err := l.links.FindDummy(LinkName)
	switch {
	case err != nil:
		return err
	case op.Verb != state.Delete && exists:
		return l.adoptLink(index, alias)
	case op.Verb != state.Delete:
		_, err := l.links.CreateDummy(LinkName, linkAlias)
		l.noDummy = errors.Is(err, unix.EOPNOTSUPP)
		switch {
		case l.noDummy:
			err = fmt.Errorf("%w: %w", errNoDummies, err)
		case errors.Is(err, unix.EEXIST):
			err = fmt.Errorf("%w: a link %s of another type, which must be renamed or removed: %w", ErrForeign, LinkName, err)
		}
		return err
	case !exists || alias != linkAlias && alias != netutil.Unfinished:
		return nil // the device of another program stays
	}
	others, err := l.othersOn(index)
	if err != nil || others {
		return err
	}
	return l.links.DeleteLink(index) // deletes all of its addresses, at the cost of one
}

// othersOn reports whether the device has an address that is no VIP of kube-ipvs: those
// have routes of kube-ipvs.
func (l *Linux) othersOn(device int) (bool, error) {
	routed, _, err := l.readRoutes(device, func(state.ID, state.SpecRef) {})
	if err != nil {
		return false, err
	}
	addrs, err := l.links.AddressesOf(device)
	return slices.ContainsFunc(addrs, func(a netutil.Address) bool {
		_, ours := routed[a.Prefix.Addr()]
		return !(ours && a.Prefix.IsSingleIP()) && !a.Prefix.Addr().IsLinkLocalUnicast()
	}), err
}
