package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// packet is the first packet of a client.
type packet struct {
	client Client
	source netip.Addr
	in     string // the link that it came in by; empty: the node's own
	proto  state.Protocol
	to     netip.AddrPort // as NAT has made it by now
	mark   uint32
	nat    bool // its destination was rewritten
}

// verdict is what a chain makes of a packet.
type verdict uint8

const (
	returned verdict = iota // the chain has ended
	accepted
	dropped
	rejected
	masqueraded
)

// tracer sends a packet through rules, as the kernel would.
type tracer struct {
	node   *Node
	rules  ruleset
	packet packet
	steps  []Step
	unsure []string
	ifFrom bool // what has happened rests on the source being in the source ranges
	depth  int
	relay  string // what the relay does with it, if it is sent there
}

// table sends the packet through what a built-in chain of a table has of ours.
func (t *tracer) table(table, chain string) verdict {
	v := t.chain(table, chain)
	if v == returned {
		return accepted // by somebody else's rules, or the policy
	}
	return v
}

const maxDepth = 10 // of chains; ours are three deep

func (t *tracer) chain(table, chain string) verdict {
	if t.depth++; t.depth > maxDepth {
		return returned
	}
	defer func() { t.depth-- }()
	for i := range t.rules[table][chain] {
		r := &t.rules[table][chain][i]
		if r.why != "" {
			t.unsure = append(t.unsure, fmt.Sprintf("%s %s: %s: %s, and it is passed over", table, chain, r.text, r.why))
			continue
		}
		entries, ok := t.matches(r)
		if !ok {
			continue
		}
		switch r.verb {
		case "RETURN":
			return returned
		case "ACCEPT":
			t.note(table, chain, r, entries, "it passes")
			return accepted
		case "DROP":
			t.note(table, chain, r, entries, "it is dropped")
			return dropped
		case "REJECT":
			t.note(table, chain, r, entries, "it is refused")
			return rejected
		case "MASQUERADE":
			t.note(table, chain, r, entries, "its source becomes this node's address")
			return masqueraded
		case "MARK":
			t.setMark(table, chain, r, entries)
		case "NETMAP", "DNAT":
			t.rewrite(table, chain, r, entries)
			return accepted
		default:
			t.note(table, chain, r, entries, "on to chain "+r.verb)
			if v := t.chain(table, r.verb); v != returned || r.into {
				return v
			}
		}
	}
	return returned
}

func (t *tracer) note(table, chain string, r *rule, entries []string, does string) {
	t.steps = append(t.steps, Step{Table: table, Chain: chain, Rule: r.text, Entries: entries, Does: does})
}

func (t *tracer) setMark(table, chain string, r *rule, entries []string) {
	value, mask := marks(r.arg)
	t.packet.mark = t.packet.mark&^mask ^ value
	does := "it is marked for masquerade"
	if value == 0 {
		does = "the mark has done its work and goes"
	}
	t.note(table, chain, r, entries, does)
}

func marks(text string) (value, mask uint32) {
	left, right, masked := strings.Cut(text, "/")
	v, _ := strconv.ParseUint(left, 0, 32)
	m := uint64(0xffffffff)
	if masked {
		m, _ = strconv.ParseUint(right, 0, 32)
	}
	return uint32(v), uint32(m)
}

// rewrite gives the packet the destination that NETMAP or DNAT says.
func (t *tracer) rewrite(table, chain string, r *rule, entries []string) {
	to := t.packet.to
	switch p, err := netip.ParsePrefix(r.arg); {
	case err == nil && r.verb == "NETMAP":
		t.packet.to = netip.AddrPortFrom(desired.ImageOf(to.Addr(), p), to.Port())
	default:
		at, err := netip.ParseAddrPort(r.arg)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(strings.Trim(r.arg, "[]"))
			at = netip.AddrPortFrom(a, to.Port())
		}
		if err != nil {
			t.unsure = append(t.unsure, fmt.Sprintf("%s %s: %s: %q is no address", table, chain, r.text, r.arg))
			return
		}
		t.packet.to = at
	}
	if t.packet.to == to {
		t.note(table, chain, r, entries, "its destination stays, whatever NAT comes later")
		return
	}
	t.packet.nat = true
	t.note(table, chain, r, entries, fmt.Sprintf("its destination becomes %s", t.packet.to))
	t.steps[len(t.steps)-1].To = t.packet.to.String()
}

// matches reports whether a rule is for the packet, with the set entries that
// say so.
func (t *tracer) matches(r *rule) (entries []string, ok bool) {
	for i := range r.tests {
		entry, ok := t.holds(&r.tests[i])
		if ok == r.tests[i].not {
			return nil, false
		}
		if entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries, true
}

// holds reports whether a test, without its "!", holds of the packet.
func (t *tracer) holds(c *test) (entry string, ok bool) {
	p := &t.packet
	arg := strings.Join(c.args, " ")
	switch c.kind {
	case "--match-set":
		return t.inSet(c)
	case "-s":
		return "", within(arg, p.source)
	case "-d":
		return "", within(arg, p.to.Addr())
	case "-i":
		name, wild := strings.CutSuffix(arg, "+")
		return "", p.in == name || wild && p.in != "" && strings.HasPrefix(p.in, name)
	case "-p":
		return "", strings.EqualFold(arg, p.proto.String())
	case "--src-type":
		return "", arg == "LOCAL" && p.client.Kind == FromNode
	case "--dst-type":
		return "", arg == "LOCAL" && t.node.takes(p.to.Addr())
	case "--ctdir":
		return "", arg == "ORIGINAL"
	case "--ctstate": // the first packet of a connection is new
		return "", slices.ContainsFunc(strings.Split(arg, ","), func(s string) bool { return s == "NEW" || s == "DNAT" && p.nat })
	case "--ctstatus": // and its entry is not confirmed
		return "", strings.Contains(arg, "NONE")
	case "--mark":
		value, mask := marks(arg)
		return "", p.mark&mask == value
	}
	return "", false
}

func within(prefix string, a netip.Addr) bool {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		one, err := netip.ParseAddr(prefix)
		return err == nil && one == a
	}
	return p.Contains(a)
}

// inSet looks the packet up in a set of ours.
func (t *tracer) inSet(c *test) (entry string, ok bool) {
	p := &t.packet
	family := state.FamilyOf(p.to.Addr())
	if len(c.args) == 0 {
		return "", false
	}
	for _, name := range state.SetNames() {
		if name.Kernel(family) != c.args[0] {
			continue
		}
		if name == state.SetSourceAllowed && p.client.anybody {
			t.ifFrom = true
			return "", true
		}
		for _, id := range candidates(name, p) {
			if t.node.Actual.Has(id) {
				return strings.TrimPrefix(id.String(), "entry "), true
			}
		}
		return "", false
	}
	t.unsure = append(t.unsure, fmt.Sprintf("set %s is not known here", c.args[0]))
	return "", false
}

// candidates are the entries of a set that would match the packet.
func candidates(name state.SetName, p *packet) []state.ID {
	switch name.Type() {
	case state.HashIP:
		return []state.ID{state.VIPEntryID(p.to.Addr())}
	case state.HashIPPortIP:
		return []state.ID{state.MemberID(name, p.proto, p.to, p.source, 0)}
	case state.HashIPPortNet:
		var out []state.ID
		for _, net := range networks(p.source) {
			out = append(out, state.SourceEntryID(p.proto, p.to, net))
		}
		return out
	case state.HashNetPort:
		var out []state.ID
		for _, net := range networks(p.to.Addr()) {
			out = append(out, state.NetEntryID(name, p.proto, net, p.to.Port()))
		}
		return out
	}
	return []state.ID{state.EntryID(name, p.proto, p.to)}
}

// networks returns every network that holds an address, the smallest first.
func networks(a netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for bits := a.BitLen(); bits >= 0; bits-- {
		out = append(out, netip.PrefixFrom(a, bits).Masked())
	}
	return out
}
