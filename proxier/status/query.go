package status

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"kube-ipvs/proxier/state"
)

// query selects the Services that a page shows.
type query struct {
	text     string // words, each of which a Service must match
	problems bool   // only Services with problems
	page     int    // from 1
	refresh  int    // refresh period of the browser in seconds; 0: none
	terms    []term
}

// term is one word of a search: a part of a name, an address, a port.
type term struct {
	text  string // in small letters
	addr  netip.Addr
	port  uint16
	proto state.Protocol    // 0: any
	real  map[state.ID]bool // virtual servers that have an endpoint there; nil: not looked up
}

const (
	maxText    = 200 // bytes of a search
	maxTerms   = 8
	maxRefresh = 3600
)

// parse reads the parameters of a request. Unknown ones are ignored.
func parse(v url.Values) (query, error) {
	q := query{text: strings.TrimSpace(v.Get("q")), page: 1}
	words := strings.Fields(q.text)
	if len(q.text) > maxText || len(words) > maxTerms {
		return q, fmt.Errorf("q is longer than %d bytes or %d words", maxText, maxTerms)
	}
	for _, word := range words {
		q.terms = append(q.terms, parseTerm(word))
	}
	var errs []error
	var err error
	if q.problems, err = strconv.ParseBool(orElse(v.Get("problems"), "0")); err != nil {
		errs = append(errs, errors.New("problems is neither 0 nor 1"))
	}
	if q.page, err = strconv.Atoi(orElse(v.Get("page"), "1")); err != nil || q.page < 1 {
		errs = append(errs, errors.New("page is not a number from 1 on"))
	}
	if q.refresh, err = strconv.Atoi(orElse(v.Get("refresh"), "0")); err != nil || q.refresh < 0 || q.refresh > maxRefresh {
		errs = append(errs, fmt.Errorf("refresh is not a number of seconds up to %d", maxRefresh))
	}
	return q, errors.Join(errs...)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// parseTerm parses a word, perhaps copied from the page: an address with or without port and
// protocol, *:PORT, :PORT, PORT, or a part of a name.
func parseTerm(word string) term {
	t := term{text: strings.ToLower(word)}
	rest := t.text
	for _, p := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
		if head, ok := strings.CutSuffix(rest, "/"+p.String()); ok {
			rest, t.proto = head, p
		}
	}
	if at, err := netip.ParseAddrPort(rest); err == nil {
		t.addr, t.port = at.Addr(), at.Port()
	} else if addr, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		t.addr = addr
	} else if port, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimPrefix(rest, "*"), ":"), 10, 16); err == nil {
		t.port = uint16(port)
	} else {
		t.proto = 0
	}
	t.addr = t.addr.Unmap().WithZone("")
	return t
}

// matches reports whether the term is in the names of the port, or matches a frontend or a server
// behind one.
func (t *term) matches(p *port, behind func(state.ID) []state.ID) bool {
	for _, entry := range p.frontends {
		if t.dials(entry) || (t.addr.IsValid() && t.stands(behind(entry))) {
			return true
		}
	}
	return !t.addr.IsValid() && strings.Contains(strings.ToLower(p.name), t.text)
}

// dials reports whether the frontend serves the address of the term.
func (t *term) dials(entry state.ID) bool {
	switch {
	case !t.addr.IsValid() && t.port == 0, t.port != 0 && t.port != entry.Port, t.proto != 0 && t.proto != entry.Proto:
		return false
	case entry.Set.Type() == state.HashNetPort: // on any address of the node
		return t.port != 0 && (!t.addr.IsValid() || t.addr.Is4() == entry.Addr().Is4())
	}
	return !t.addr.IsValid() || t.addr == entry.Addr()
}

// stands reports whether the term matches one of the virtual servers, or a real server of one.
func (t *term) stands(servers []state.ID) bool {
	for _, id := range servers {
		if t.real[id] || t.addr == id.Addr() && (t.port == 0 || t.port == id.Port) && (t.proto == 0 || t.proto == id.Proto) {
			return true
		}
	}
	return false
}

// meets reports whether the term matches a real server.
func (t *term) meets(real state.ID) bool {
	return t.addr == real.Peer() && (t.port == 0 || t.port == real.PeerPort) && (t.proto == 0 || t.proto == real.Proto)
}
