package netutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watcher reads events.
type watcher struct {
	device string
	index  uint32  // of the device, 0 while there is none
	up     [2]bool // the device, lo
	found  Changes
	buf    [4096]byte

	filtered uint32 // index, as the socket's filter knows it
}

// newWatcher reads the present state of the device and lo.
func newWatcher(device string) (*watcher, error) {
	w := &watcher{device: device}
	link, err := netlink.LinkByName(device)
	switch {
	case errors.As(err, &netlink.LinkNotFoundError{}):
	case err != nil:
		return nil, fmt.Errorf("look for link %s: %w", device, err)
	default:
		w.index = uint32(link.Attrs().Index)
		w.up[0] = link.Attrs().RawFlags&unix.IFF_UP != 0
	}
	lo, err := netlink.LinkByIndex(loopback)
	if err != nil {
		return nil, fmt.Errorf("look for the loopback device: %w", err)
	}
	w.up[1] = lo.Attrs().RawFlags&unix.IFF_UP != 0
	return w, nil
}

// take returns the changes since the last call.
func (w *watcher) take() Changes {
	found := w.found
	w.found = Changes{}
	return found
}

// event takes in one message.
func (w *watcher) event(p []byte) {
	if len(p) < unix.SizeofNlMsghdr+unix.SizeofRtMsg { // shorter than any of them
		w.found.Facts, w.found.More = true, true
		return
	}
	typ, flags := binary.NativeEndian.Uint16(p[atType:]), binary.NativeEndian.Uint16(p[atFlags:])
	own := ports.has(binary.NativeEndian.Uint32(p[12:])) // nlmsg_pid: who asked for it
	body := p[unix.SizeofNlMsghdr:]
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		w.link(typ == unix.RTM_DELLINK, body)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		w.address(typ == unix.RTM_DELADDR, own, body)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		w.route(typ == unix.RTM_DELROUTE, flags&unix.NLM_F_REPLACE != 0, own, body)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		w.found.Facts = true
	}
}

// link takes in a struct ifinfomsg.
func (w *watcher) link(deleted bool, p []byte) {
	index := binary.NativeEndian.Uint32(p[4:])
	up := binary.NativeEndian.Uint32(p[8:])&unix.IFF_UP != 0
	name := linkName(p[unix.SizeofIfInfomsg:])
	here := index == w.index && w.index != 0
	switch {
	case here && (deleted || name != w.device):
		w.index, w.up[0] = 0, false
		w.found.Device, w.found.Facts = true, true
	case here:
		w.found.Device = w.found.Device || up != w.up[0]
		w.up[0] = up
	case name == w.device && !deleted:
		w.index, w.up[0] = index, up
	default:
		if index == loopback {
			w.found.Device = w.found.Device || up != w.up[1]
			w.up[1] = up
		}
		w.found.Facts = true
	}
}

// address takes in a struct ifaddrmsg.
func (w *watcher) address(deleted, own bool, p []byte) {
	a, ok := parseAddress(p)
	here := ok && uint32(a.Link) == w.index && w.index != 0
	w.found.Facts = w.found.Facts || !here
	vip, global := here && !own && a.Prefix.IsSingleIP(), !here && a.Scope == unix.RT_SCOPE_UNIVERSE
	if ok && deleted && (vip || global) {
		w.lose(netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()))
	}
}

// route takes in a struct rtmsg.
func (w *watcher) route(deleted, replaced, own bool, p []byte) {
	r, ok := parseRoute(p)
	switch {
	case !ok || own:
	case r.table != unix.RT_TABLE_LOCAL:
		w.found.Facts = w.found.Facts || r.Dst.Bits() <= halfBits
	case deleted && r.Protocol == RouteProtocol || !deleted && replaced:
		w.lose(r.Dst)
	}
}

func (w *watcher) lose(p netip.Prefix) {
	if len(w.found.Lost) == mostLost {
		w.found.More = true
		return
	}
	w.found.Lost = append(w.found.Lost, p)
}

// linkName returns the name among the attributes of a link.
func linkName(p []byte) string {
	for a, rest, ok := NextAttr(p); ok; a, rest, ok = NextAttr(rest) {
		if a.Type == unix.IFLA_IFNAME {
			return unix.ByteSliceToString(a.Data)
		}
	}
	return ""
}

// portSet has the port numbers of the route sockets of this process. An event has the port
// number of the socket that caused it.
type portSet struct {
	mu  sync.RWMutex
	all map[uint32]bool
}

var ports = portSet{all: map[uint32]bool{}}

func (s *portSet) has(port uint32) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all[port]
}

func (s *portSet) set(port uint32, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open {
		s.all[port] = true
	} else {
		delete(s.all, port)
	}
}
