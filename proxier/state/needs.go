package state

// turn are the steps of a plan at which an object is written, which is added or changed,
// and removed.
type turn struct{ write, remove int }

// kindTable says of each kind its turn, and what the kernel refuses an object without.
// The turn of an entry goes by the use of its set.
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
	Entry:         {needs: func(to []ID, id ID) []ID { return append(to, SetID(id.Set, FamilyOf(id.Addr()))) }},
}

var useTurns = [setUses]turn{
	useNone: {stepGate, stepUngate}, useOwn: {stepOwn, stepDisown}, useAllow: {stepAllow, stepUngate}, useFilter: {stepFilter, stepUnfilter},
	useRefuse: {stepGate, stepUngate}, useName: {stepFrontend, stepUnfrontend}, usePublish: {stepPublish, stepUnpublish},
}

func allSets(to []ID, rules ID) []ID {
	for _, n := range SetNames() {
		to = append(to, SetID(n, rules.Addr()))
	}
	return to
}

// Needs appends to to what the kernel refuses id without: NewPlan adds it before id and
// deletes it after id, but for the link, with which the addresses on it go. A VIP that is bare, or on its way out, does without the link, and
// rules on their way out do without their sets.
func Needs(to []ID, id ID) []ID {
	if needs := kindTable[id.Kind].needs; needs != nil {
		return needs(to, id)
	}
	return to
}
