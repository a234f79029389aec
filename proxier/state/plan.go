package state

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

// Want returns what the object that o writes is to be in the end.
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
		switch was := o.Old.Value().describe(o.ID.Kind); {
		case was == "":
		case o.ID.Kind == Rules:
			s += " (differs: " + was + ")" // which tells what is to come and to go
		default:
			s += " (was " + was + ")"
		}
		return s
	}
	return o.Verb.String() + " " + Object{o.ID, o.Spec}.String()
}

// Plan is a list of writes in the order in which they must happen.
type Plan []Op

// NewPlan orders ops. Those of one step keep the order that they came in.
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
	next := 0
	for s, n := range at {
		at[s], next = next, next+n
	}
	plan := make(Plan, next)
	for i := range ops {
		plan[at[of[i]]] = ops[i]
		at[of[i]]++
	}
	return plan
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
	stepUnlink // the addresses of VIPs go with it, all at once
	stepUnVIP
	stepDrain
	stepUnreal
	stepUnserver
	stepDisown
	stepUnroute
	stepUnrules
	stepUnset
	stepUnsetting
	steps
)

// step tells where in a plan the op stands.
func (o *Op) step() int {
	t := kindTable[o.ID.Kind].turn
	if o.ID.Kind == Entry {
		t = useTurns[setTable[o.ID.Set].use]
	}
	switch {
	case o.Verb == Delete:
		return t.remove
	case o.ID.Kind == RealServer && o.Spec.spec.rest.Weight == 0:
		return stepDrain
	}
	return t.write
}
