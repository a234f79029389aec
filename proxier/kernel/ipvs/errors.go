package ipvs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// The errors of Open and ProbeScheduler. Each names the remedy.
var (
	ErrNoIPVS       error = &netutil.MissingModules{Err: errors.New("the kernel has no IPVS"), Modules: []string{"ip_vs"}}
	ErrNotPermitted       = fmt.Errorf("IPVS needs CAP_NET_ADMIN in the initial user namespace: "+
		"run as root or grant the capability, and not in a user namespace of its own (%w)", unix.EPERM)
	ErrNoScheduler = errors.New("the kernel has no IPVS scheduler")
)

var errMalformed = errors.New("the kernel's answer is malformed")

// words has the meaning of error numbers from IPVS.
var words = map[unix.Errno]string{
	unix.EEXIST:       "it exists already",
	unix.ESRCH:        "no such virtual server",
	unix.ENOENT:       "no such real server, or no such scheduler",
	unix.EAFNOSUPPORT: "the kernel's IPVS has no such address family: for IPv6 it needs CONFIG_IP_VS_IPV6, and IPv6 not disabled",
	unix.EPERM:        ErrNotPermitted.Error(),
	unix.ENOMEM:       "the kernel is out of memory",
	unix.EINVAL: "the kernel refuses it: no real server can have the address, " +
		"a netmask or value is out of range, or address families are mixed",
	unix.ERANGE: "impossible weight or threshold",
}

// Error puts an errno of netutil.Conn.Exec for requests of this package into words. The errno
// remains in the chain, for errors.Is: unix.EEXIST, ESRCH for a missing virtual server, ENOENT
// for a missing real server or, after NewService and SetService, a missing scheduler. Error
// returns other errors unchanged, and nil for nil.
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
	meaning string
	no      unix.Errno
}

func (e *kernelError) Error() string { return e.meaning }
func (e *kernelError) Unwrap() error { return e.no }
