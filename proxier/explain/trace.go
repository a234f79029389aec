package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/netutil/iptables"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// packet is the first packet of a client.
type packet struct {
	client Client
	source netip.Addr
	in     string // the incoming link; empty: the node itself has sent it
	proto  state.Protocol
	to     netip.AddrPort // the destination, after NAT so far
	mark   uint32
	nat    bool // NAT has changed its destination
}

// verdict is the decision of a chain about a packet.
type verdict uint8

const (
	returned verdict = iota // the chain has ended
	accepted
	dropped
	rejected
	masqueraded
)

// tracer sends a packet through the rules, as the kernel does.
type tracer struct {
	node   *Node
	rules  ruleset
	packet packet
	steps  []Step
	unsure []string
	ifFrom bool // the result holds only for sources in the source ranges
	depth  int
	relay  string // the work of the relay, if it gets the packet
}

// table sends the packet through the rules of kube-ipvs in a built-in chain of a table.
func (t *tracer) table(table, chain string) verdict {
	v := t.chain(table, chain)
	if v == returned {
		return accepted // by rules of other programs, or the policy
	}
	return v
}

const maxDepth = 10 // of nested chains; those of kube-ipvs are three deep

func (t *tracer) chain(table, chain string) verdict {
	if t.depth++; t.depth > maxDepth {
		return returned
	}
	defer func() { t.depth-- }()
	rules := t.rules[place{table, chain}]
	for i := range rules {
		r := &rules[i]
		if why := unknown(r); why != "" {
			t.doubt(table, r, why+", and explain skips it")
			continue
		}
		entries, ok := t.matches(r)
		if !ok {
			continue
		}
		switch target := r.Target(); target {
		case "RETURN":
			return returned
		case "ACCEPT":
			t.note(table, r, entries, "it passes")
			return accepted
		case "DROP":
			t.note(table, r, entries, "it is dropped")
			return dropped
		case "REJECT":
			t.note(table, r, entries, "it is refused")
			return rejected
		case "MASQUERADE":
			t.note(table, r, entries, "its source becomes this node's address")
			return masqueraded
		case "MARK":
			t.setMark(table, r, entries)
		case "NETMAP", "DNAT":
			t.rewrite(table, r, entries)
			return accepted
		default:
			t.note(table, r, entries, "on to chain "+target)
			if v := t.chain(table, target); v != returned || r.Option("-g").Name != "" {
				return v
			}
		}
	}
	return returned
}

// note adds a step: a rule that acted on the packet, with the matching set entries.
func (t *tracer) note(table string, r *iptables.Rule, entries []state.ID, does string) {
	s := Step{Table: table, Chain: r.Chain, Rule: r.Text, Does: does, rule: r}
	for _, id := range entries {
		s.Entries, s.sets = append(s.Entries, strings.TrimPrefix(id.String(), "entry ")), append(s.sets, id.Set)
	}
	t.steps = append(t.steps, s)
}

// doubt notes why explain cannot judge a rule.
func (t *tracer) doubt(table string, r *iptables.Rule, why string) {
	t.unsure = append(t.unsure, fmt.Sprintf("%s %s: %s: %s", table, r.Chain, r.Text, why))
}

func (t *tracer) setMark(table string, r *iptables.Rule, entries []state.ID) {
	value, mask, _ := iptables.Mark(r.Option("--set-xmark").Arg())
	t.packet.mark = t.packet.mark&^mask ^ value
	does := "it is marked for masquerade"
	if value == 0 {
		does = "the mark is cleared after its use"
	}
	t.note(table, r, entries, does)
}

// rewrite gives the packet the destination of NETMAP or DNAT.
func (t *tracer) rewrite(table string, r *iptables.Rule, entries []state.ID) {
	to, arg := t.packet.to, r.Option("--to", "--to-destination").Arg()
	switch p, err := netip.ParsePrefix(arg); {
	case err == nil && r.Target() == "NETMAP":
		t.packet.to = netip.AddrPortFrom(desired.ImageOf(to.Addr(), p), to.Port())
	default:
		at, err := netip.ParseAddrPort(arg)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(strings.Trim(arg, "[]"))
			at = netip.AddrPortFrom(a, to.Port())
		}
		if err != nil {
			t.doubt(table, r, fmt.Sprintf("%q is not an address", arg))
			return
		}
		t.packet.to = at
	}
	if t.packet.to == to {
		t.note(table, r, entries, "its destination stays, and no later NAT changes it")
		return
	}
	t.packet.nat = true
	t.note(table, r, entries, fmt.Sprintf("its destination becomes %s", t.packet.to))
	t.steps[len(t.steps)-1].To = t.packet.to.String()
}

// matches reports whether a rule matches the packet, and returns the matching set entries.
func (t *tracer) matches(r *iptables.Rule) (entries []state.ID, ok bool) {
	for _, o := range r.Options {
		if !decides[o.Name] {
			continue
		}
		entry, ok := t.holds(o)
		if ok == o.Not {
			return nil, false
		}
		if entry != (state.ID{}) {
			entries = append(entries, entry)
		}
	}
	return entries, true
}

// holds reports whether an option, without its "!", is true for the packet, and returns the
// matching set entry, if any.
func (t *tracer) holds(o iptables.Option) (entry state.ID, ok bool) {
	if o.Name == "--match-set" {
		return t.inSet(o)
	}
	p, arg := &t.packet, o.Arg()
	switch o.Name {
	case "-s":
		ok = within(arg, p.source)
	case "-d":
		ok = within(arg, p.to.Addr())
	case "-i":
		name, wild := strings.CutSuffix(arg, "+")
		ok = p.in == name || wild && p.in != "" && strings.HasPrefix(p.in, name)
	case "-p":
		ok = strings.EqualFold(arg, p.proto.String())
	case "--src-type":
		ok = arg == "LOCAL" && p.client.Kind == FromNode
	case "--dst-type":
		ok = arg == "LOCAL" && t.node.takes(p.to.Addr())
	case "--ctdir":
		ok = arg == "ORIGINAL"
	case "--ctstate": // the first packet of a connection is new
		ok = slices.ContainsFunc(strings.Split(arg, ","), func(s string) bool { return s == "NEW" || s == "DNAT" && p.nat })
	case "--ctstatus": // and its entry is not confirmed
		ok = strings.Contains(arg, "NONE")
	case "--mark":
		value, mask, _ := iptables.Mark(arg)
		ok = p.mark&mask == value
	}
	return entry, ok
}

func within(prefix string, a netip.Addr) bool {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		one, err := netip.ParseAddr(prefix)
		return err == nil && one == a
	}
	return p.Contains(a)
}

// inSet looks the packet up in a set of kube-ipvs.
func (t *tracer) inSet(o iptables.Option) (entry state.ID, ok bool) {
	p := &t.packet
	family := state.FamilyOf(p.to.Addr())
	for _, name := range state.SetNames() {
		if len(o.Args) == 0 || name.Kernel(family) != o.Args[0] {
			continue
		}
		if name == state.SetSourceAllowed && p.client.allOfKind {
			t.ifFrom = true
			return entry, true
		}
		for _, id := range candidates(name, p) {
			if t.node.Actual.Has(id) {
				return id, true
			}
		}
		return entry, false
	}
	t.unsure = append(t.unsure, fmt.Sprintf("set %s is not known here", o.Arg()))
	return entry, false
}

// candidates returns the entries of a set that would match the packet.
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

// networks returns every network that contains an address, the smallest first.
func networks(a netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for bits := a.BitLen(); bits >= 0; bits-- {
		out = append(out, netip.PrefixFrom(a, bits).Masked())
	}
	return out
}
