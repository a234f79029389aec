package state

// turn has the steps of a plan at which an object is written (added or changed) and
// removed.
type turn struct{ write, remove int }

// kindTable has the turn of each kind, and the objects without which the kernel refuses
// one of the kind. The turn of an entry depends on the use of its set.
var kindTable = [kinds]struct {
	turn  turn
	needs func(to []ID, id ID) []ID
}{
	Setting:       {turn: turn{stepSetting, stepUnsetting}},
	Link:          {turn: turn{stepLink, stepUnlink}},
	Set:           {turn: turn{stepSet, stepUnset}},
	Rules:         {turn{stepRules, stepUnrules}, allSets},
	Route:         {turn: turn{stepRoute, stepUnroute}},
	VirtualServer: {turn: turn{stepServer, stepUnserver}},
	RealServer:    {turn{stepReal, stepUnreal}, func(to []ID, id ID) []ID { return append(to, id.Server()) }},
	VIP:           {turn{stepVIP, stepUnVIP}, func(to []ID, _ ID) []ID { return append(to, LinkID()) }},
	Entry:         {needs: func(to []ID, id ID) []ID { return append(to, SetID(id.Set, id.Family())) }},
}

var useTurns = [setUses]turn{
	useNone: {stepGate, stepUngate}, useOwn: {stepOwn, stepDisown}, useAllow: {stepAllow, stepUngate}, useFilter: {stepFilter, stepUnfilter},
	useRefuse: {stepGate, stepUngate}, useName: {stepFrontend, stepUnfrontend}, usePublish: {stepPublish, stepUnpublish},
}

func allSets(to []ID, rules ID) []ID {
	for _, n := range SetNames() {
		to = append(to, SetID(n, rules.Family()))
	}
	return to
}

// Needs appends the objects without which the kernel refuses id. NewPlan adds them before
// id and deletes them after id, except the link, whose addresses go with it. A bare or
// leaving VIP does not need the link, and leaving rules do not need their sets.
func Needs(to []ID, id ID) []ID {
	if needs := kindTable[id.Kind].needs; needs != nil {
		return needs(to, id)
	}
	return to
}
