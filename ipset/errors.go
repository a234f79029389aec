package ipset

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The errors of Error and of Client, for errors.Is.
var (
	ErrExist    = errors.New("another set has this name")
	ErrNotFound = errors.New("no such set")
	ErrFull     = errors.New("the set is full")
	ErrInUse    = errors.New("the set is in use by a rule or another set")
	ErrNoType   = errors.New("the kernel has no such set type")
	ErrZero     = errors.New("the set cannot hold a zero address")
	ErrPrefix   = errors.New("impossible prefix length: it is at least 1, and at most that of one address")
)

// Error numbers of the hash types, linux/netfilter/ipset/ip_set_hash.h.
const (
	errHashFull = nl.IPSET_ERR_TYPE_SPECIFIC + iota
	errHashElem
	errInvalidProto
	errMissingProto
	errRangeUnsupported
	errHashRange
)

// words has the meaning of error numbers that only ipset has, or that mean something else in
// ipset.
var words = map[unix.Errno]error{
	unix.EEXIST:                     ErrExist,
	unix.ENOENT:                     ErrNotFound,
	unix.EPERM:                      errors.New("not permitted: CAP_NET_ADMIN is missing"),
	nl.IPSET_ERR_PROTOCOL:           errors.New("the kernel refuses the request: the address is of another family than the set, or the comment is too long"),
	nl.IPSET_ERR_FIND_TYPE:          ErrNoType,
	nl.IPSET_ERR_MAX_SETS:           errors.New("the kernel has no room for another set (module option max_sets of ip_set)"),
	nl.IPSET_ERR_BUSY:               ErrInUse,
	nl.IPSET_ERR_TYPE_MISMATCH:      errors.New("the set has another type"),
	nl.IPSET_ERR_EXIST:              errors.New("the entry exists already, or does not exist"),
	nl.IPSET_ERR_INVALID_CIDR:       ErrPrefix,
	nl.IPSET_ERR_INVALID_FAMILY:     errors.New("impossible family"),
	nl.IPSET_ERR_REFERENCED:         ErrInUse,
	nl.IPSET_ERR_IPADDR_IPV4:        errors.New("the set takes IPv4 addresses"),
	nl.IPSET_ERR_IPADDR_IPV6:        errors.New("the set takes IPv6 addresses"),
	nl.IPSET_ERR_COMMENT:            errors.New("the set was created without comments"),
	unix.Errno(errHashFull):         ErrFull,
	unix.Errno(errHashElem):         ErrZero,
	unix.Errno(errInvalidProto):     errors.New("impossible protocol"),
	unix.Errno(errMissingProto):     errors.New("the protocol is missing"),
	unix.Errno(errRangeUnsupported): errors.New("the set takes no ranges"),
	unix.Errno(errHashRange):        errors.New("the range is too large"),
}

// Error puts an errno of netutil.Conn.Exec for requests of this package into words, such as
// ErrFull. The errno remains in the chain. Error returns other errors unchanged, and nil for
// nil.
func Error(err error) error {
	var no unix.Errno
	if !errors.As(err, &no) || errors.As(err, new(*kernelError)) {
		return err
	}
	if w, ok := words[no]; ok {
		return &kernelError{w, no}
	}
	return err
}

// kernelError is an error number with its meaning.
type kernelError struct {
	meaning error
	no      unix.Errno
}

func (e *kernelError) Error() string   { return e.meaning.Error() }
func (e *kernelError) Unwrap() []error { return []error{e.meaning, e.no} }
