package state

// Verb is the kind of write of an Op.
type Verb uint8

// The verbs. The kernel refuses to add an existing object and to delete a missing one;
// then another program has changed it, and the kernel must be read again.
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
	Drains bool // Change of a removed real server to weight 0, before its Delete
	ID     ID
	Spec   SpecRef // Add, Change: the new content
	Old    SpecRef // Change, Delete: the content before
}

// Want returns the wanted state of the object that o writes.
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
			s += " (differs: " + was + ")"
		default:
			s += " (was " + was + ")"
		}
		return s
	}
	return o.Verb.String() + " " + Object{o.ID, o.Spec}.String()
}

// Plan is a list of writes in the order in which they must happen.
type Plan []Op

// NewPlan orders ops by steps. The ops of one step keep their order.
//
// The steps add from behind and delete from the front, so that at no moment a frontend is
// published before it works:
//
//	settings, link, sets, rules, routes of mapped addresses
//	add:    the entry of a VIP (which proves that it is ours), virtual servers, real servers, the VIP,
//	        entries that reject, drop and filter, the frontend, and at last the entry that publishes it
//	        (after that the entry of a VIP that another program has made: rules of kube-ipvs
//	        refuse packets to a VIP that are for no published frontend)
//	delete: the reverse; entries that reject or drop go after real servers have come,
//	        and come before real servers go
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
	var at [steps]int // the number of ops of a step, then the index of its next op
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

// Cut splits off the first writes of the plan, at most n and all of one step, whose order
// does not matter. The rest may depend on them.
func (p Plan) Cut(n int) (stage, rest Plan) {
	to := min(1, len(p))
	for to < len(p) && to < n && p[to].step() == p[0].step() {
		to++
	}
	return p[:to], p[to:]
}

// takenAddresses returns the addresses of another program that kube-ipvs takes over.
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

// step returns the step of a plan at which the op stands.
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
