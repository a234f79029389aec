package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// ErrBlocked is wrapped by the error of a write that was not tried, since it waits for
// another object. The object's name follows.
var ErrBlocked = errors.New("it waits for")

// CauseOf returns the cause of err, the error of a write of the object id.
func CauseOf(id state.ID, err error) state.Cause {
	switch {
	case errors.Is(err, ErrBlocked):
		return state.CauseBlocked
	case errors.Is(err, ErrForeign), errors.Is(err, netutil.ErrBusy), errors.Is(err, ipset.ErrExist):
		return state.CauseForeign
	case hasValue(id.Kind) && refusesValue(err):
		return state.CauseObject
	}
	return state.CauseNode
}

// hasValue reports whether objects of the kind have values from a Service or an endpoint,
// which the kernel may refuse. The values of other kinds are kube-ipvs's own.
func hasValue(k state.Kind) bool {
	switch k {
	case state.VirtualServer, state.RealServer, state.VIP, state.Entry:
		return true
	}
	return false
}

// refusesValue reports whether the kernel refuses the value, or has no room for so many.
// IPVS refuses the address of a real server that is neither unicast nor local
// (ip_vs_new_dest in ip_vs_ctl.c).
func refusesValue(err error) bool {
	for _, sign := range []error{unix.EINVAL, unix.ERANGE, unix.EADDRNOTAVAIL, ipset.ErrPrefix, ipset.ErrZero, ipset.ErrFull} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
