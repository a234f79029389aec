package proxier

import (
	"net/netip"
	"strconv"
	"strings"

	"kube-ipvs/proxier/state"
)

// id reads the name of an object, as it is printed.
func (s *story) id(line string) state.ID {
	o := s.read(line)
	if o.ID.String() != line {
		s.Fatalf("no name of an object: %s", line)
	}
	return o.ID
}

// object reads an object, as it is printed.
func (s *story) object(line string) state.Object {
	o := s.read(line)
	if o.String() != line {
		s.Fatalf("no object: %s", line)
	}
	return o
}

// read reads an object and checks nothing: what it does not know it leaves out.
func (s *story) read(line string) state.Object {
	word := append(strings.Fields(line), make([]string, 8)...)
	var spec state.Spec
	var id state.ID
	switch word[0] + " " + word[1] {
	case "virtual server":
		id, spec = s.server(word[2]), serverSpec(line, word[3:])
	case "real server":
		id = state.RealServerID(s.server(word[4]), netip.MustParseAddrPort(word[2]))
		spec.Weight = numberOf(word[6])
	case "link kube-ipvs0":
		id = state.LinkID()
	case "rules IPv4":
		id, spec.Condition, spec.Text = state.RulesID(state.IPv4), state.Differs, word[2]
	case "rules IPv6":
		id, spec.Condition, spec.Text = state.RulesID(state.IPv6), state.Differs, word[2]
	default:
		switch word[0] {
		case "vip":
			id = state.VIPID(netip.MustParseAddr(word[1]))
			spec.Source, _ = netip.ParseAddr(word[3])
			spec.MTU, spec.Bare = numberOf(word[5]), strings.Contains(line, "by its route alone")
			if strings.Contains(line, state.WrongRoute.String()) {
				spec = state.Spec{Condition: state.WrongRoute}
			}
		case "entry":
			id = s.entry(word[1], word[2])
			spec.Text, _ = strconv.Unquote(word[3])
		default:
			s.Fatalf("no object: %s", line)
		}
	}
	return state.Object{ID: id, Spec: state.Intern(spec)}
}

func (s *story) protocol(name string) state.Protocol {
	for _, p := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
		if p.String() == name {
			return p
		}
	}
	s.Fatalf("no protocol: %s", name)
	return 0
}

// server reads such as 10.96.0.10:80/tcp.
func (s *story) server(text string) state.ID {
	at, proto, _ := strings.Cut(text, "/")
	return state.VirtualServerID(s.protocol(proto), netip.MustParseAddrPort(at))
}

func serverSpec(line string, word []string) state.Spec {
	spec := state.Spec{Scheduler: word[0], Flags: state.FlagOurs}
	for flag, text := range map[uint32]string{
		state.FlagSchedFallback: " fallback", state.FlagSchedPort: " port", state.FlagPersistent: " persistent ",
	} {
		if strings.Contains(line, text) {
			spec.Flags |= flag
		}
	}
	if strings.HasSuffix(line, " foreign") {
		spec.Flags &^= state.FlagOurs
	}
	if _, after, is := strings.Cut(line, " persistent "); is {
		seconds, _, _ := strings.Cut(after, "s")
		spec.Timeout = numberOf(seconds)
	}
	return spec
}

// entry reads the member of a set, which has commas between the dimensions.
func (s *story) entry(set, member string) state.ID {
	part := append(strings.Split(member, ","), "", "")
	for _, family := range state.Families(true) {
		for _, name := range state.SetNames() {
			if name.Kernel(family) != set {
				continue
			}
			if name.Type() == state.HashIP {
				return state.VIPEntryID(netip.MustParseAddr(part[0]))
			}
			protoName, portText, _ := strings.Cut(part[1], ":")
			proto, port := s.protocol(protoName), uint16(numberOf(portText))
			if name.Type() == state.HashNetPort {
				return state.NetEntryID(name, proto, netip.MustParsePrefix(part[0]), port)
			}
			at := netip.AddrPortFrom(netip.MustParseAddr(part[0]), port)
			switch name.Type() {
			case state.HashIPPortIP:
				return state.HairpinID(proto, at)
			case state.HashIPPortNet:
				return state.SourceEntryID(proto, at, netip.MustParsePrefix(part[2]))
			}
			return state.EntryID(name, proto, at)
		}
	}
	s.Fatalf("no set: %s", set)
	return state.ID{}
}

func numberOf(text string) uint32 {
	n, _ := strconv.ParseUint(text, 10, 32)
	return uint32(n)
}
