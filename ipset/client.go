package ipset

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// Client talks to the kernel. Only one goroutine may use it at a time.
//
// It creates and destroys sets by itself, without vishvananda/netlink: so one socket serves
// all requests, and that library panics on errors other than an errno.
type Client struct {
	conn *netutil.Conn
	b    netutil.Batch
}

// Open returns a Client for the network namespace of the calling thread. It does not find
// out whether the kernel has ipset; Probe does.
func Open() (*Client, error) {
	conn, err := netutil.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("ipset: %w", err)
	}
	return &Client{conn: conn}, nil
}

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }

// Stats counts the requests so far. Safe from any goroutine.
func (c *Client) Stats() netutil.Stats { return c.conn.Stats() }

// Exec sends the requests of AddEntry and DeleteEntry in b, as netutil.Conn.Exec does. It
// returns nil if all succeed, else one error a request, in words.
func (c *Client) Exec(b *netutil.Batch) []error {
	errs := c.conn.Exec(b)
	for i, err := range errs {
		errs[i] = Error(err)
	}
	return errs
}

// Create makes a set. Idempotent: an equal set stays with its entries, and so does one that
// only lacks counters, which then counts nothing. It returns ErrExist if the set has another
// type, family, size or other comments.
func (c *Client) Create(s Set) error {
	if s.MaxEntries == 0 {
		s.MaxEntries = DefaultMaxEntries
	}
	// Without NLM_F_EXCL the kernel would compare, but it takes sets of two families for
	// the same.
	err := c.create(s, unix.NLM_F_EXCL)
	if errors.Is(err, ErrExist) {
		err = c.compare(s)
	}
	if err != nil {
		return fmt.Errorf("create set %s of type %s: %w", s.Name, s.Type, err)
	}
	return nil
}

// compare returns ErrExist if the kernel's set with the name of s differs from s.
func (c *Client) compare(s Set) error {
	var is Set
	if err := c.headers(s.Name, func(s Set) { is = s }); err != nil {
		return Error(err)
	}
	is.Entries, is.References, is.Memory = s.Entries, s.References, s.Memory
	is.Counters = is.Counters || s.Counters // a set of an older version may lack them
	if is != s {
		return fmt.Errorf("%w: type %s, address family %d, comments %t, %d entries at the most",
			ErrExist, is.Type, is.Family, is.Comments, is.MaxEntries)
	}
	return nil
}

func (c *Client) create(s Set, flags int) error {
	if n := len(s.Name); n == 0 || n > maxName {
		return fmt.Errorf("the name has %d bytes: a name has 1 to %d", n, maxName)
	}
	if _, ok := layouts[s.Type]; !ok {
		return errors.New("unknown type")
	}
	c.b.Reset()
	create(&c.b, s, flags)
	return c.one()
}

// Destroy removes a set and its entries. Idempotent. It returns ErrInUse if a rule or another
// set refers to it. The kernel drops the reference of a rule a moment after the rule, so that
// Destroy waits for that, two seconds at the most.
func (c *Client) Destroy(name string) error {
	const patience, pause = 2 * time.Second, 20 * time.Millisecond
	for start := time.Now(); ; time.Sleep(pause) {
		c.b.Reset()
		destroy(&c.b, name)
		err := c.one()
		switch {
		case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, unix.EINVAL): // EINVAL: no ipset, as for Sets
			return nil
		case !errors.Is(err, ErrInUse), time.Since(start) > patience:
			return fmt.Errorf("destroy set %s: %w", name, err)
		}
	}
}

// one executes the one request of the client's own batch.
func (c *Client) one() error {
	if errs := c.Exec(&c.b); errs != nil {
		return errs[0]
	}
	return nil
}

// Sets returns all sets of the namespace, of any program, without their entries. Type and
// Family are the kernel's: this package may not know them. A kernel without ipset, whose
// nfnetlink calls each request invalid, has none.
func (c *Client) Sets() ([]Set, error) {
	var sets []Set
	err := netutil.Retry(func() error {
		sets = sets[:0]
		return c.headers("", func(s Set) { sets = append(sets, s) })
	})
	if errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the sets: %w", Error(err))
	}
	return sets, nil
}

// Set returns the set with a name, without its entries; ErrNotFound if the kernel has none.
// The kernel walks the set to count its entries.
func (c *Client) Set(name string) (Set, error) {
	var is Set
	err := netutil.Retry(func() error { return c.headers(name, func(s Set) { is = s }) })
	if err != nil {
		return Set{}, fmt.Errorf("read set %s: %w", name, Error(err))
	}
	return is, nil
}

// headers calls each with every set, or with the one that has the name.
func (c *Client) headers(name string, each func(Set)) error {
	c.b.Reset()
	list(&c.b, name, true)
	return c.conn.Dump(&c.b, func(_ uint16, p []byte) error {
		s, err := parse(p, nil)
		if err == nil {
			each(s)
		}
		return err
	})
}

// List calls each with every entry of a set, in no order; ErrNotFound if the kernel has no
// such set. After an error, entries may be missing or have come twice.
func (c *Client) List(name string, each func(Entry)) error {
	c.b.Reset()
	list(&c.b, name, false)
	err := c.conn.Dump(&c.b, func(_ uint16, p []byte) error {
		_, err := parse(p, each)
		return err
	})
	if err != nil {
		return fmt.Errorf("list set %s: %w", name, Error(err))
	}
	return nil
}

// ProbeName is the name of the set that Probe creates. A killed process leaves it behind; the
// next Probe replaces it.
const ProbeName = "PROBE-KIPVS-TYPE"

// Probe returns nil if the kernel has a type for a family, which is unix.AF_INET or
// unix.AF_INET6, with comments. It creates a set and destroys it, by which the kernel loads
// its modules. The error is a netutil.MissingModules if the kernel lacks the type, or ipset.
func (c *Client) Probe(typ Type, family uint8) error {
	scratch := Set{Name: ProbeName, Type: typ, Family: family, Comments: true, MaxEntries: 1}
	err := c.create(scratch, unix.NLM_F_EXCL)
	if errors.Is(err, ErrExist) {
		if err := c.Destroy(ProbeName); err != nil {
			return err
		}
		err = c.create(scratch, unix.NLM_F_EXCL)
	}
	switch {
	case err == nil:
		return c.Destroy(ProbeName)
	case errors.Is(err, ErrNoType):
		return &netutil.MissingModules{Err: fmt.Errorf("%w %s", ErrNoType, typ), Modules: []string{layouts[typ].module}}
	case errors.Is(err, unix.EINVAL): // of nfnetlink, as for Sets
		return &netutil.MissingModules{Err: fmt.Errorf("the kernel has no ipset (%w)", err), Modules: []string{"ip_set", layouts[typ].module}}
	}
	return fmt.Errorf("probe set type %s: %w", typ, err)
}
