package proxier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

// givens are steps that do not have the process start.
var givens = map[string]func(s *story, data string){
	"conns":             (*story).conns,
	"track":             (*story).track,
	"silent":            (*story).falls,
	"config":            (*story).configure,
	"facts":             (*story).facts,
	"kernel has":        (*story).has,
	"refuse":            (*story).refuse,
	"read fails":        func(s *story, _ string) { s.kernel.ReadErr = errors.New("interrupted"); s.settle() },
	"read works":        func(s *story, _ string) { s.kernel.ReadErr = nil; s.wait(time.Minute) },
	"forget":            func(s *story, _ string) { s.writes, s.drift, s.aborted = nil, nil, nil },
	"source silent":     func(s *story, _ string) { s.source = silent },
	"source incomplete": func(s *story, _ string) { s.tell(incomplete) },
	"source complete":   func(s *story, _ string) { s.tell(complete) },
}

// happenings are steps that something happens by, by their whole name or by its first word.
var happenings = map[string]func(s *story, arg, data string){
	"put":          (*story).put,
	"remove":       func(s *story, name, _ string) { s.put(name, "") },
	"kernel lacks": (*story).lacks,
	"audit":        func(s *story, _, _ string) { s.proxier.Audit(); s.settle() },
	"stop":         func(s *story, _, _ string) { s.end() },
	"restart":      func(s *story, _, _ string) { s.start() },
	"later":        (*story).later,
}

// views are steps that expect something, by their whole name or by its first word.
var views = map[string]func(s *story, arg string) []string{
	"kernel":    (*story).holds,
	"rules":     (*story).rules,
	"plan":      func(s *story, _ string) []string { return taken(&s.writes) },
	"drift":     func(s *story, _ string) []string { return taken(&s.drift) },
	"errors":    func(s *story, _ string) []string { return taken(&s.aborted) },
	"flows":     (*story).flows,
	"unwritten": (*story).unwritten,
	"problems": func(s *story, _ string) []string {
		var lines []string
		for _, p := range s.proxier.Last().Problems {
			lines = append(lines, p.String())
		}
		return lines
	},
	"not ready": func(s *story, _ string) []string {
		return slices.DeleteFunc([]string{s.proxier.Last().NotReady}, isEmpty)
	},
	"reduced": func(s *story, _ string) []string {
		var lines []string
		for id, why := range s.proxier.Last().Reduced() {
			lines = append(lines, string(why)+" "+id.String())
		}
		slices.Sort(lines)
		return lines
	},
	"health": (*story).health,
}

// taken returns lines, and empties them.
func taken(lines *[]string) []string {
	out := *lines
	*lines = nil
	return out
}

func isEmpty(s string) bool { return s == "" }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// linesOf returns the lines of data that are not empty.
func linesOf(data string) []string { return slices.DeleteFunc(strings.Split(data, "\n"), isEmpty) }

// storyConfig is what a story may configure, in the words of the configuration file.
type storyConfig struct {
	Zone                    string   `json:"zone"` // only a start takes it
	Scheduler               string   `json:"scheduler"`
	ClusterCIDR             []string `json:"clusterCIDR"`
	DetectLocalMode         string   `json:"detectLocalMode"`
	MasqueradeAll           bool     `json:"masqueradeAll"`
	NodePortAddresses       []string `json:"nodePortAddresses"`
	AllowServiceExternalIPs *bool    `json:"allowServiceExternalIPs"`
	MaxServiceFrontends     int      `json:"maxServiceFrontends"`
	VIPBinding              string   `json:"vipBinding"`
	APIServers              []string `json:"apiServers"`
}

// configure replaces the configuration.
func (s *story) configure(data string) {
	c := storyConfig{Zone: world.Zone, Scheduler: "rr"}
	s.parse(data, &c)
	s.config.Zone = c.Zone
	d := &s.config.Desired
	d.Scheduler, d.MasqueradeAll, d.MaxFrontends, d.NoDevice = c.Scheduler, c.MasqueradeAll, c.MaxServiceFrontends, c.VIPBinding == "route"
	d.NoExternalIPs = c.AllowServiceExternalIPs != nil && !*c.AllowServiceExternalIPs
	s.config.NodeCIDR = c.DetectLocalMode == "NodeCIDR"
	d.PodCIDRs = [2]netip.Prefix{}
	for _, text := range c.ClusterCIDR {
		p := netip.MustParsePrefix(text)
		d.PodCIDRs[p.Addr().BitLen()/128] = p // IPv4, IPv6
	}
	d.Protected = nil
	for _, text := range c.APIServers {
		d.Protected = append(d.Protected, netip.MustParseAddrPort(text))
	}
	s.config.PrimaryNodePorts, d.NodePortAddresses = false, nil
	for _, text := range c.NodePortAddresses {
		if text == "primary" {
			s.config.PrimaryNodePorts = true
			continue
		}
		d.NodePortAddresses = append(d.NodePortAddresses, netip.MustParsePrefix(text))
	}
	if s.stop != nil {
		s.proxier.Configure(s.config)
		s.settle()
	}
}

// storyFacts is what a story may say of the node, beside its Node object.
type storyFacts struct {
	NodeIPs  []netip.Addr   `json:"nodeIPs"`
	MTU      uint32         `json:"mtu"`
	NoIPv6   bool           `json:"noIPv6"`   // IPv6 is switched off
	NoDummy  bool           `json:"noDummy"`  // the kernel has no dummy devices
	InImages []netip.Prefix `json:"inImages"` // addresses of its links that lie in prefixes of images
}

// facts replaces what the node is like.
func (s *story) facts(data string) {
	f := storyFacts{NodeIPs: slices.Clone(nodeFacts.NodeIPs), MTU: nodeFacts.MTU}
	s.parse(data, &f)
	s.kernel.NoDummy = f.NoDummy
	s.kernel.NodeFacts = state.Facts{NodeIPs: f.NodeIPs, MTU: f.MTU, NoIPv6: f.NoIPv6, InImages: f.InImages}
	if s.stop != nil {
		s.proxier.FactsChanged()
		s.settle()
	}
}

func (s *story) parse(data string, into any) {
	if err := yaml.UnmarshalStrict([]byte(data), into); err != nil {
		s.Fatal(err)
	}
}

// put makes a file hold the objects in data.
func (s *story) put(name, data string) {
	var now, events []source.Event
	for _, doc := range strings.Split(data, "---\n") {
		if strings.TrimSpace(doc) != "" {
			now = append(now, s.decode(name, doc))
		}
	}
	for _, old := range s.files[name] {
		if !slices.ContainsFunc(now, func(e source.Event) bool { return key(e) == key(old) }) {
			old.Deleted = true
			events = append(events, old)
		}
	}
	s.files[name] = now
	if s.stop != nil {
		s.proxier.Events(append(events, now...))
		s.settle()
	}
}

func key(e source.Event) string {
	switch {
	case e.Service != nil:
		return "service " + e.Service.Namespace + "/" + e.Service.Name
	case e.Node != nil:
		return "node " + e.Node.Name
	}
	return "slice " + e.Slice.Namespace + "/" + e.Slice.Name
}

func (s *story) decode(name, doc string) source.Event {
	e := source.Event{Origin: name}
	switch {
	case strings.Contains(doc, "kind: Node\n"):
		e.Node = &corev1.Node{}
		s.parse(doc, e.Node)
	case strings.Contains(doc, "kind: EndpointSlice\n"):
		e.Slice = &discoveryv1.EndpointSlice{}
		s.parse(doc, e.Slice)
		if e.Slice.Namespace == "" {
			e.Slice.Namespace = "default"
		}
		model.DefaultSlice(e.Slice)
	default:
		e.Service = &corev1.Service{}
		s.parse(doc, e.Service)
		if e.Service.Namespace == "" {
			e.Service.Namespace = "default"
		}
		model.Default(e.Service)
	}
	return e
}

// conns gives real servers connections.
func (s *story) conns(data string) {
	clear(s.kernel.Conns)
	for _, line := range linesOf(data) {
		var n uint32
		count, name, _ := strings.Cut(line, " ")
		if _, err := fmt.Sscan(count, &n); err != nil {
			s.Fatal(err)
		}
		id := s.id(name)
		if !s.kernel.State.Has(id) {
			s.Fatalf("no %s", name)
		}
		s.kernel.Conns[id] = n
	}
	s.settle()
}

// has puts objects into the kernel.
func (s *story) has(data string) {
	for _, line := range linesOf(data) {
		o := s.object(line)
		s.kernel.State.Put(o.ID, o.Spec)
	}
}

// later lets a time pass, or that of a drain.
func (s *story) later(arg, _ string) {
	d := s.config.DrainTimeout
	if arg != "" {
		var err error
		if d, err = time.ParseDuration(arg); err != nil {
			s.Fatal(err)
		}
	}
	s.wait(d)
}

// lacks takes objects out of the kernel.
func (s *story) lacks(_, data string) {
	for _, line := range linesOf(data) {
		id := s.id(line)
		if !s.kernel.State.Has(id) {
			s.Fatalf("no %s", line)
		}
		s.kernel.State.Delete(id)
	}
}

// refusals are errors by which the kernel refuses a write, by whose fault it is.
var refusals = map[string]error{
	"object":  unix.EINVAL,
	"foreign": kernel.ErrForeign,
	"node":    unix.ENOMEM,
	"stale":   kernel.ErrStale,
}

// refuse has the kernel refuse to write some objects, and no others.
func (s *story) refuse(data string) {
	clear(s.kernel.refuse)
	for _, line := range linesOf(data) {
		cause, name, _ := strings.Cut(line, " ")
		if refusals[cause] == nil {
			s.Fatalf("no such cause: %s", line)
		}
		s.kernel.refuse[s.id(name)] = refusals[cause]
	}
	s.settle()
}

func (s *story) unwritten(string) []string {
	var out []string
	for _, u := range s.proxier.Last().Unwritten {
		out = append(out, fmt.Sprintf("%s: %s", u.Cause, u.Op))
	}
	slices.Sort(out)
	return out
}

// everywhere reports whether the object stands on every node.
func everywhere(id state.ID) bool {
	switch id.Kind {
	case state.Setting, state.Link, state.Set, state.Rules, state.Route:
		return true
	}
	return false
}

func (s *story) holds(begins string) []string {
	now := &state.State{}
	for id, spec := range s.kernel.State.All() {
		if begins != "" || !everywhere(id) {
			now.Put(id, spec)
		}
	}
	return slices.DeleteFunc(linesOf(now.String()), func(line string) bool { return !strings.HasPrefix(line, begins) })
}

func (s *story) rules(text string) []string {
	var out []string
	for _, family := range state.Families(true) {
		for line := range strings.Lines(specOf(s.kernel.Fake, state.RulesID(family)).Text) {
			if strings.Contains(line, text) {
				out = append(out, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return out
}

func (s *story) health(string) []string {
	r := s.proxier.Last()
	var out []string
	for _, c := range r.Checks {
		name := c.Key.String()
		if c.UID != "" {
			name += " (" + c.UID + ")"
		}
		out = append(out, fmt.Sprintf("port %d: %s has local endpoints of IPv4: %d, of IPv6: %d", c.Port, name, c.Local[0], c.Local[1]))
	}
	var none []string
	for at, n := range r.NoLocal {
		if n > 0 {
			none = append(none, fmt.Sprintf("without local endpoints for %s traffic of %s: %d", at.Policy, at.Family, n))
		}
	}
	slices.Sort(none)
	return append(out, none...)
}

const toNodeText, answeredText = " to the node", " answered"

// track has conntrack have flows.
func (s *story) track(data string) {
	for _, line := range linesOf(data) {
		var f kernel.Flow
		rest, answered := strings.CutSuffix(line, answeredText)
		rest, toNode := strings.CutSuffix(rest, toNodeText)
		parts := strings.Fields(rest)
		if len(parts) != 4 || parts[2] != "by" {
			s.Fatalf("no flow: %s", line)
		}
		f.Proto, f.To, f.By = s.protocol(parts[0]), netip.MustParseAddrPort(parts[1]), netip.MustParseAddrPort(parts[3])
		f.Answered, f.Node = answered, toNode
		s.kernel.Track(f)
	}
}

// falls has these endpoints, and no others, answer none of the node's own connections.
func (s *story) falls(data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = linesOf(data)
}

// dial is eject.Dial.
func (s *story) dial(ctx context.Context, at netip.AddrPort) error {
	s.mu.Lock()
	silent := slices.Contains(s.silent, at.String())
	s.mu.Unlock()
	if !silent {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *story) flows(string) []string {
	var out []string
	for _, f := range s.kernel.Tracked() {
		line := fmt.Sprintf("%s %s by %s", f.Proto, f.To, f.By)
		if f.Node {
			line += toNodeText
		}
		if f.Answered {
			line += answeredText
		}
		out = append(out, line)
	}
	return out
}
