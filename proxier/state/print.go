package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var kindNames = [kinds]string{
	Setting: "setting", Link: "link", Set: "set", Rules: "rules", Route: "route", VirtualServer: "virtual server",
	RealServer: "real server", VIP: "vip", Entry: "entry", Flow: "flow",
}

// String returns the kind in words.
func (k Kind) String() string { return kindNames[k] }

// String returns tcp, udp or sctp.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

// String returns the object's name on one line, as logs, plans and tests show it.
func (id ID) String() string {
	switch id.Kind {
	case Setting:
		return id.Setting.String()
	case Link:
		return "link kube-ipvs0"
	case Set:
		return fmt.Sprintf("set %s %s", id.Set.Kernel(id.Family()), id.Set.Type())
	case Rules:
		return fmt.Sprintf("rules %s", id.Family())
	case Route:
		return fmt.Sprintf("route local %s", netip.PrefixFrom(id.Addr(), int(id.Bits)))
	case VirtualServer:
		return fmt.Sprintf("virtual server %s/%s", id.AddrPort(), id.Proto)
	case RealServer:
		return fmt.Sprintf("real server %s of %s/%s", id.Endpoint(), id.AddrPort(), id.Proto)
	case VIP:
		return fmt.Sprintf("vip %s", id.Addr())
	case Entry:
		return fmt.Sprintf("entry %s %s", id.Set.Kernel(id.Family()), id.member())
	case Flow:
		return "flow " + id.flow()
	}
	return fmt.Sprintf("kind-%d", uint8(id.Kind))
}

// member spells a set entry as ipset does.
func (id ID) member() string {
	switch id.Set.Type() {
	case HashIP:
		return id.Addr().String()
	case HashNetPort:
		return fmt.Sprintf("%s,%s:%d", netip.PrefixFrom(id.Addr(), int(id.Bits)), id.Proto, id.Port)
	case HashIPPortIP:
		return fmt.Sprintf("%s,%s:%d,%s", id.Addr(), id.Proto, id.Port, id.Peer())
	case HashIPPortNet:
		return fmt.Sprintf("%s,%s:%d,%s", id.Addr(), id.Proto, id.Port, netip.PrefixFrom(id.Peer(), int(id.Bits)))
	}
	return fmt.Sprintf("%s,%s:%d", id.Addr(), id.Proto, id.Port)
}

func (id ID) flow() string {
	to := id.Addr().String()
	if n := id.Network(); n.IsValid() {
		to = n.String()
	}
	return fmt.Sprintf("%s to %s port %d", id.Proto, to, id.Port)
}

// String returns the condition in words. It is "" for Sound, and for Differs, where Text has the
// words.
func (c Condition) String() string {
	switch c {
	case WrongRoute:
		return "with a wrong address or route"
	case NoAlias:
		return "without the alias of kube-ipvs"
	}
	return ""
}

// describe returns the content of an object of kind k in words, or "".
func (s Spec) describe(k Kind) string {
	if text := s.Condition.String(); text != "" {
		return text
	}
	switch k {
	case Setting:
		return "= " + s.Text
	case VirtualServer:
		t := s.Scheduler
		if s.Flags&FlagSchedFallback != 0 {
			t += " fallback"
		}
		if s.Flags&FlagSchedPort != 0 {
			t += " port"
		}
		if s.Flags&FlagPersistent != 0 {
			t += fmt.Sprintf(" persistent %ds", s.Timeout)
		}
		if s.Flags&FlagOurs == 0 {
			t += " foreign"
		}
		return t
	case RealServer:
		if s.Upper != 0 {
			return fmt.Sprintf("weight %d at most %d connections", s.Weight, s.Upper)
		}
		return fmt.Sprintf("weight %d", s.Weight)
	case VIP:
		var t []string
		if s.Source.IsValid() {
			t = append(t, "src "+s.Source.String())
		}
		if s.MTU != 0 {
			t = append(t, fmt.Sprintf("mtu %d", s.MTU))
		}
		if s.Bare {
			t = append(t, "by its route alone")
		}
		return strings.Join(t, " ")
	case Entry:
		if s.Text != "" {
			return fmt.Sprintf("%q", s.Text)
		}
	case Flow:
		return "answered by " + s.Text
	case Rules:
		if s.Condition == Differs || s.Text == "" {
			return s.Text
		}
		return fmt.Sprintf("%d lines", strings.Count(s.Text, "\n"))
	}
	return ""
}

// String returns the object's name and content on one line.
func (o Object) String() string {
	if d := o.Spec.Value().describe(o.ID.Kind); d != "" {
		return o.ID.String() + " " + d
	}
	return o.ID.String()
}

// String prints one object a line, sorted.
func (s *State) String() string {
	lines := make([]string, 0, s.Len())
	for id, spec := range s.All() {
		lines = append(lines, Object{id, spec}.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
