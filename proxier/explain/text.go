package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"kube-ipvs/proxier/desired"
)

// Print writes the explanation as text: a section for each frontend with the way of a packet
// step by step, then the differences, and in the last line what is wrong.
func (e *Explanation) Print(out io.Writer) {
	p := &printer{out: out}
	about := ""
	if e.Zone != "" {
		about = ", zone " + e.Zone
	}
	p.line("Service %s on node %s%s, as the kernel has it now.", e.Service, orNone(e.Node), about)
	if e.Asked != "" {
		p.line("%s.", capital(e.Asked))
	}
	if e.Origin != "" {
		p.line("It comes from %s.", e.Origin)
	}
	if len(e.Frontends) == 0 {
		p.line("It has no address that clients can dial here.")
	}
	for i := range e.Frontends {
		p.frontend(&e.Frontends[i], e.Hairpin)
	}
	p.ending(e)
}

type printer struct{ out io.Writer }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// width is the number of columns of wrapped text.
const width = 96

// text writes sentences, wrapped at width, with more indent on all lines but the first.
func (p *printer) text(format string, args ...any) {
	const indent, more = "     ", "       "
	line := indent
	for i, word := range strings.Fields(fmt.Sprintf(format, args...)) {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > width:
			p.line("%s", line)
			line = more + word
		default:
			line += " " + word
		}
	}
	p.line("%s", line)
}

func (p *printer) frontend(f *Frontend, hairpin []string) {
	title := f.title()
	if f.Port != "" {
		title += ", port " + f.Port
	}
	p.line("\n%s", title)
	if f.ServedBy != "" {
		p.line("  Service %s has the same address and port, and is served here: the address is its ClusterIP, or it is older, or its name sorts first.", f.ServedBy)
		return
	}
	p.line("  1. The node takes the packet.")
	for _, fact := range f.Takes {
		if fact.Object == "" || strings.HasPrefix(fact.Object, "vip ") {
			p.text("%s.", capital(fact.Text))
		}
	}
	p.line("  2. Rules let it pass or not, and rewrite its destination.")
	for _, g := range groups(f.Ways, alike) {
		p.passage(f, g)
	}
	served := slices.DeleteFunc(slices.Clone(f.Ways), func(w Way) bool { return w.Outcome != Served })
	p.line("  3. IPVS gives a new connection to an endpoint%s.", f.carrier())
	if len(served) == 0 {
		p.text("No packet gets this far.")
	}
	for i := range f.Servers {
		s := &f.Servers[i]
		if len(served) == 0 || served[0].Client.Address == "" || served[0].Server == s.Address+"/"+s.Protocol {
			p.server(s)
		}
	}
	if len(served) > 0 {
		p.line("  4. The endpoint sees the client, or this node in its place (masquerade).")
	}
	for _, g := range groups(served, seenAlike) {
		p.source(g)
	}
	itself := slices.ContainsFunc(hairpin, func(s string) bool { return strings.HasPrefix(s, "[") == (f.Family == 6) })
	if itself && slices.ContainsFunc(served, func(w Way) bool { return w.Client.allOfKind && w.Masquerade == "no" }) {
		p.text("An endpoint that connects to itself: this node, so that its answer comes back.")
	}
	for i := range f.Ways {
		if f.Ways[i].Client.Address != "" {
			p.steps(&f.Ways[i])
		}
	}
}

// title names a frontend.
func (f *Frontend) title() string {
	title := fmt.Sprintf("%s %s/%s", f.Kind, f.Address, f.Protocol)
	if f.Kind == "node port" {
		title += fmt.Sprintf(" (IPv%d)", f.Family)
	}
	return title
}

// carrier says who carries the other packets of a connection.
func (f *Frontend) carrier() string {
	if len(f.Servers) > 0 && f.Servers[0].Address == f.Address {
		return ", and carries all its packets"
	}
	return "; conntrack carries its other packets"
}

// groups returns groups of ways that differ only in the client.
func groups(ways []Way, alike func(a, b *Way) bool) [][]Way {
	var out [][]Way
	for _, w := range ways {
		at := slices.IndexFunc(out, func(g []Way) bool { return alike(&g[0], &w) })
		if at < 0 {
			out = append(out, nil)
			at = len(out) - 1
		}
		out[at] = append(out[at], w)
	}
	return out
}

func alike(a, b *Way) bool {
	return a.Outcome == b.Outcome && a.Relay == b.Relay && a.Server == b.Server && a.IfFrom == b.IfFrom && a.Why == b.Why
}

func seenAlike(a, b *Way) bool {
	return a.Masquerade == b.Masquerade && a.MasqueradeWhy == b.MasqueradeWhy && slices.Equal(a.Masqueraded, b.Masqueraded)
}

// who names the clients of some ways, at the beginning of a sentence.
func who(g []Way) string { return capital(names(g)) }

// names names the clients of some ways.
func names(g []Way) string {
	var names []string
	for i := range g {
		names = append(names, g[i].Client.name())
	}
	return strings.Join(names, ", ")
}

// passage prints what the rules do with the packets of some clients.
func (p *printer) passage(f *Frontend, g []Way) {
	w := &g[0]
	who := who(g)
	if w.IfFrom {
		p.text("%s: only from %s (loadBalancerSourceRanges); others are dropped.", who, orNone(strings.Join(f.SourceRanges, ", ")))
	} else if f.SourceRanges != nil && w.Outcome == Served {
		p.text("%s: the address is in loadBalancerSourceRanges (%s).", who, strings.Join(f.SourceRanges, ", "))
	}
	if w.Relay != "" {
		p.text("%s: IPVS takes no loopback sources, so %s.", who, w.Relay)
	}
	entry, to := w.rewriting()
	switch {
	case w.Outcome != Served:
		p.text("%s: %s. %s.", who, outcomes[w.Outcome], capital(w.Why))
	case to != "":
		p.text("%s: entry %s matches, and the destination becomes %s, a mapped address that only this node knows.", who, orNone(entry), to)
	default:
		p.text("%s: entry %s matches, and the destination stays as it is.", who, orNone(entry))
	}
	for _, text := range w.Unsure {
		p.text("Not sure: %s.", text)
	}
}

var outcomes = map[string]string{
	Served: "served", Refused: "refused at once", Dropped: "dropped, and the client gets no answer", ToHost: "handed to the node itself",
	PassedOn: "passed on", Unroutable: "lost",
}

// rewriting returns the set entry that decided in a table of NAT, and the new destination, if
// any.
func (w *Way) rewriting() (entry, to string) {
	for _, s := range w.Steps {
		if !translates(s.Table) || desired.ChainOf(s.Chain) == desired.ChainPost {
			continue
		}
		for _, e := range s.Entries {
			entry = e
		}
		if s.To != "" {
			to = s.To
		}
	}
	return entry, to
}

func (c *Client) name() string {
	text := map[string]string{FromPod: "a pod", FromNode: "the node itself", FromOutside: "a client from outside"}[c.Kind]
	if c.orPod {
		text = "any other client (pods cannot be told apart)"
	}
	if c.Address != "" {
		text = c.Address + ", " + text
	}
	return text
}

// schedulers has the usual schedulers in words.
var schedulers = map[string]string{
	"rr": "the endpoints in turn", "wrr": "the endpoints in turn, by weight", "lc": "the endpoint with the fewest connections",
	"wlc": "the endpoint with the fewest connections for its weight", "sh": "by a hash of the client's address", "mh": "by a hash of the client's address and port",
}

func (p *printer) server(s *Server) {
	text := "virtual server " + s.Address + "/" + s.Protocol
	if s.For != "" {
		text += ", for " + s.For
	}
	switch does := schedulers[s.Scheduler]; {
	case !s.Present:
		text += ": MISSING"
	case does != "":
		text += fmt.Sprintf(": scheduler %s, %s", s.Scheduler, does)
	default:
		text += ": scheduler " + s.Scheduler
	}
	if s.Affinity > 0 {
		text += fmt.Sprintf("; a client stays with its endpoint for %d s", s.Affinity)
	}
	p.text("%s", capital(text))
	if len(s.Endpoints) == 0 {
		p.line("       no EndpointSlice has an endpoint")
	}
	tw := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		fmt.Fprintf(tw, "       %s\t%s\t%s\t%s\n", e.Address, e.weightText(), yesNo(e.Chosen), e.Why)
	}
	_ = tw.Flush()
}

func yesNo(chosen bool) string {
	if chosen {
		return "chosen:"
	}
	return "not chosen:"
}

func (e *Endpoint) weightText() string {
	switch {
	case e.Weight != nil && e.Limit > 0:
		return fmt.Sprintf("weight %d, at most %d connections", *e.Weight, e.Limit)
	case e.Weight != nil:
		return fmt.Sprintf("weight %d", *e.Weight)
	case e.Chosen:
		return "MISSING"
	}
	return "-"
}

// source prints the source address that the endpoint sees.
func (p *printer) source(g []Way) {
	w := &g[0]
	sees := "the client's own address"
	switch w.Masquerade {
	case "yes":
		sees = "this node"
	case "some":
		sees = "this node, if it is sent to " + strings.Join(w.Masqueraded, ", ")
	}
	p.text("%s: %s. %s.", who(g), sees, capital(w.MasqueradeWhy))
}

// steps prints the rules that acted on the packet of one client.
func (p *printer) steps(w *Way) {
	p.line("  Rule by rule, for %s (%s)", w.Client.name(), w.Client.Why)
	for _, s := range w.Steps {
		if desired.ChainOf(s.Chain) == "" {
			continue // a jump to a chain of kube-ipvs
		}
		p.line("     %s %s: %s", s.Table, s.Chain, s.Rule)
		text := s.Does
		if len(s.Entries) > 0 {
			text = "entry " + strings.Join(s.Entries, ", ") + ": " + text
		}
		p.line("       -> %s", text)
	}
	if len(w.Steps) == 0 {
		p.line("     no rule of kube-ipvs matches it")
	}
}

func (p *printer) ending(e *Explanation) {
	p.line("")
	for _, text := range e.Problems {
		p.line("Problem: %s", text)
	}
	if !e.Complete {
		p.line("Some objects cannot be read: until they can, kube-ipvs removes and refuses nothing.")
		for _, text := range e.Unread[:min(len(e.Unread), maxCommon)] {
			p.line("  %s", text)
		}
		if more := len(e.Unread) - maxCommon; more > 0 {
			p.line("  and %d more: kube-ipvs plan lists them", more)
		}
	}
	p.differences(e)
	p.line("%s", e.verdict())
}

func (p *printer) differences(e *Explanation) {
	if e.AsDesired {
		return
	}
	p.line("Differences from the desired objects:")
	common := 0
	for i := range e.Differs {
		if e.Differs[i].Common {
			if common++; common > maxCommon {
				continue
			}
		}
		p.difference(&e.Differs[i])
	}
	if common > maxCommon {
		p.line("  and %d more that all Services need: kube-ipvs plan lists them", common-maxCommon)
	}
}

// maxCommon is how many differences or unreadable objects of other Services are printed: an
// unprogrammed node has dozens.
const maxCommon = 5

func (p *printer) difference(d *Difference) {
	text := d.name()
	switch {
	case d.Want != "" && d.Have != "":
		text += fmt.Sprintf(": wanted %s, is %s", d.Want, d.Have)
	case d.Want+d.Have != "":
		text += ": " + d.Want + d.Have
	}
	if d.Why != "" {
		text += " (" + d.Why + ")"
	}
	p.line("  %s", text)
	for _, detail := range d.Detail {
		p.line("    %s", detail)
	}
}

// capital returns s with a capital letter, unless it begins with an address.
func capital(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if s == "" || strings.ContainsAny(first, ".:") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
