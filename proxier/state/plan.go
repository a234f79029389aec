package state

import "net/netip"

// Verb is what an Op does.
type Verb uint8

// The verbs. Add of what is there and Delete of what is absent fail in the
// kernel; both mean that somebody else was at work and the kernel must be read
// again.
const (
	Add Verb = iota + 1
	Change
	Delete
)

// String returns add, change or delete.
func (v Verb) String() string {
	return [...]string{"", "add", "change", "delete"}[v]
}

// Op is one write.
type Op struct {
	Verb   Verb
	Drains bool // Change of a real server that is to go: it gets weight 0 first
	ID     ID
	Spec   SpecRef // Add, Change: what the object is to hold
	Old    SpecRef // Change, Delete: what it held
}

// Want returns what is wanted of the object that o writes.
func (o Op) Want() Want {
	if o.Verb == Delete || o.Drains {
		return Want{ID: o.ID}
	}
	return Want{ID: o.ID, Spec: o.Spec, Present: true}
}

// String prints the write on one line.
func (o Op) String() string {
	switch o.Verb {
	case Delete:
		return o.Verb.String() + " " + o.ID.String()
	case Change:
		s := o.Verb.String() + " " + Object{o.ID, o.Spec}.String()
		if was := o.Old.Value().describe(o.ID.Kind); was != "" && o.ID.Kind != Rules {
			s += " (was " + was + ")"
		}
		return s
	}
	return o.Verb.String() + " " + Object{o.ID, o.Spec}.String()
}

// Plan is a list of writes in the order in which they must happen.
type Plan []Op

// NewPlan orders ops and adds the conntrack deletions that they make
// necessary. Ops of one step keep the order that they came in.
//
// The steps fill from behind and empty from the front, so that at no moment a
// frontend is published without what is behind it:
//
//	settings, link, sets, rules, image routes
//	add:    VIP's entry (which is the proof that it is ours), virtual servers, real servers, VIP,
//	        what rejects, drops and filters, the frontend, and what publishes it last
//	        (after it the entry of a VIP that is there already and was somebody else's:
//	        our rules refuse what is for a VIP and not published)
//	delete: the reverse; what rejects or drops goes after real servers have come
//	        and comes before they go
//
// Last go conntrack entries that know nothing of the change: UDP has no
// connection that ends, so that its flows to a vanished real server go, those
// of a frontend that is published no more, and those that began before their
// frontend was published or while it was refused.
// TCP and SCTP clients repeat their first packet while nobody answers it; its
// entry without NAT would keep the next ones from a frontend that is there now.
func NewPlan(ops []Op) Plan {
	taken := takenAddresses(ops)
	step := func(o *Op) int {
		switch s := o.step(); {
		case s == stepOwn && taken[o.ID.addr]:
			return stepTakeOwn
		case s == stepVIP && taken[o.ID.addr]:
			return stepTakeVIP
		default:
			return s
		}
	}
	var at [steps]int // where the next op of a step goes
	of := make([]uint8, len(ops))
	for i := range ops {
		of[i] = uint8(step(&ops[i]))
		at[of[i]]++
	}
	flows := at[stepPublish] + at[stepUnpublish] + at[stepUnreal] // at most
	next := 0
	for s, n := range at {
		at[s], next = next, next+n
	}
	plan := make(Plan, next, next+flows)
	for i := range ops {
		plan[at[of[i]]] = ops[i]
		at[of[i]]++
	}
	return appendFlows(plan, ops) // the last step
}

// Cut splits off the first writes of the plan between which the order does not
// matter, n of them at most. Those that follow may stand on them.
func (p Plan) Cut(n int) (stage, rest Plan) {
	to := min(1, len(p))
	for to < len(p) && to < n && p[to].step() == p[0].step() {
		to++
	}
	return p[:to], p[to:]
}

// appendFlows appends to a plan the conntrack deletions that ops call for.
func appendFlows(plan Plan, ops []Op) Plan {
	var seen map[ID]bool // of UDP: for others a frontend is added once, and it alone counts
	adopted, gone := deletedServers(ops)
	add := func(id ID) {
		if id.Proto == UDP {
			if seen == nil {
				seen = map[ID]bool{}
			}
			if seen[id] {
				return
			}
			seen[id] = true
		}
		plan = append(plan, Op{Verb: Delete, ID: id, Spec: None, Old: None})
	}
	for i := range ops {
		op := &ops[i]
		switch publishes := op.ID.Kind == Entry && op.ID.Set.Publishes(); {
		case op.ID.Proto == UDP && op.Verb == Delete && op.ID.Kind == RealServer:
			switch server := op.ID.Server(); {
			case adopted[server]: // the endpoint stays one, behind virtual servers of ours: flows by these go on
				add(FlowID(UDP, op.ID.AddrPort(), op.ID.Endpoint()))
			case gone[server]: // its entry says which flows go: the endpoint may be that of other frontends
			default:
				add(FlowID(UDP, netip.AddrPortFrom(FamilyOf(op.ID.Peer()), 0), op.ID.Endpoint()))
			}
		case publishes && (op.Verb == Add || op.Verb == Delete && op.ID.Proto == UDP):
			if id, ok := op.ID.older(); ok {
				add(id)
			}
		}
	}
	return plan
}

// older names the conntrack entries of what came before a frontend was
// published by the entry id, or before it is so no more.
func (id ID) older() (flow ID, ok bool) {
	onNodePort := id.Set.Type() == HashNetPort
	switch {
	case id.Proto == UDP && onNodePort: // any address of the node
		return FlowID(UDP, netip.AddrPortFrom(FamilyOf(id.Addr()), id.Port), netip.AddrPort{}), true
	case id.Proto == UDP:
		return FlowID(UDP, id.AddrPort(), netip.AddrPort{}), true
	case onNodePort: // the node itself has refused what came too early
		return ID{}, false
	}
	return FlowID(id.Proto, id.AddrPort(), id.AddrPort()), true // unanswered and without NAT: others belong to connections
}

// takenAddresses returns the addresses that are there already and become ours.
func takenAddresses(ops []Op) map[address]bool {
	var there, out map[address]bool
	for i := range ops {
		if op := &ops[i]; op.Verb == Change && op.ID.Kind == VIP {
			if there == nil {
				there, out = map[address]bool{}, map[address]bool{}
			}
			there[op.ID.addr] = true
		}
	}
	if there == nil {
		return nil
	}
	for i := range ops {
		if op := &ops[i]; op.Verb == Add && op.ID.Kind == Entry && op.ID.Set == SetVIPs && there[op.ID.addr] {
			out[op.ID.addr] = true
		}
	}
	return out
}

// deletedServers returns the virtual servers that go: those that never were
// ours, and those that were.
func deletedServers(ops []Op) (adopted, ours map[ID]bool) {
	note := func(in *map[ID]bool, id ID) {
		if *in == nil {
			*in = map[ID]bool{}
		}
		(*in)[id] = true
	}
	for i := range ops {
		switch op := &ops[i]; {
		case op.Verb != Delete || op.ID.Kind != VirtualServer:
		case op.Old.Value().Flags&FlagOurs == 0:
			note(&adopted, op.ID)
		default:
			note(&ours, op.ID)
		}
	}
	return adopted, ours
}

// Publishes reports whether an entry of the set is what makes a frontend answer.
func (n SetName) Publishes() bool {
	switch n {
	case SetCluster, SetExternal, SetExternalLocal, SetNodePort, SetNodePortLocal:
		return true
	}
	return false
}

// The steps of NewPlan.
const (
	stepSetting = iota
	stepLink
	stepSet
	stepRules
	stepRoute
	stepOwn
	stepServer
	stepReal
	stepVIP
	stepAllow
	stepGate
	stepFilter
	stepFrontend
	stepPublish
	stepTakeOwn
	stepTakeVIP

	stepUnpublish
	stepUnfrontend
	stepUnfilter
	stepUngate
	stepUnVIP
	stepDrain
	stepUnreal
	stepUnserver
	stepDisown
	stepUnroute
	stepUnrules
	stepUnset
	stepUnlink
	stepUnsetting
	stepFlow
	steps
)

// stepsOf are those of adding and changing, and of deleting, by kind.
var stepsOf = [kinds][2]int{
	Setting: {stepSetting, stepUnsetting}, Link: {stepLink, stepUnlink}, Set: {stepSet, stepUnset},
	Rules: {stepRules, stepUnrules}, Route: {stepRoute, stepUnroute}, VirtualServer: {stepServer, stepUnserver},
	RealServer: {stepReal, stepUnreal}, VIP: {stepVIP, stepUnVIP}, Flow: {stepFlow, stepFlow},
}

// step tells where in a plan the op stands.
func (o *Op) step() int {
	switch {
	case o.ID.Kind == Entry:
		return o.entryStep()
	case o.Verb == Delete:
		return stepsOf[o.ID.Kind][1]
	case o.ID.Kind == RealServer && o.Spec.spec.rest.Weight == 0:
		return stepDrain
	}
	return stepsOf[o.ID.Kind][0]
}

func (o *Op) entryStep() int {
	add, del := stepGate, stepUngate
	switch s := o.ID.Set; {
	case s == SetVIPs:
		add, del = stepOwn, stepDisown
	case s == SetSourceAllowed:
		add, del = stepAllow, stepUngate
	case s == SetSourceFiltered:
		add, del = stepFilter, stepUnfilter
	case s == SetAll:
		add, del = stepFrontend, stepUnfrontend
	case s.Publishes():
		add, del = stepPublish, stepUnpublish
	}
	if o.Verb == Delete {
		return del
	}
	return add
}
