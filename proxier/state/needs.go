package state

// kindTable says of each kind at which steps of a plan an object is written (added or
// changed) and removed, and what the kernel refuses it without. Entries have the steps of
// their set.
var kindTable = [kinds]struct {
	write, remove int
	needs         func(to []ID, id ID) []ID
}{
	Setting:       {write: stepSetting, remove: stepUnsetting},
	Link:          {write: stepLink, remove: stepUnlink},
	Set:           {write: stepSet, remove: stepUnset},
	Rules:         {stepRules, stepUnrules, allSets},
	Route:         {write: stepRoute, remove: stepUnroute},
	VirtualServer: {write: stepServer, remove: stepUnserver},
	RealServer:    {stepReal, stepUnreal, func(to []ID, id ID) []ID { return append(to, id.Server()) }},
	VIP:           {stepVIP, stepUnVIP, func(to []ID, _ ID) []ID { return append(to, LinkID()) }},
	Entry:         {needs: func(to []ID, id ID) []ID { return append(to, SetID(id.Set, FamilyOf(id.Addr()))) }},
}

func allSets(to []ID, rules ID) []ID {
	for _, n := range SetNames() {
		to = append(to, SetID(n, rules.Addr()))
	}
	return to
}

// Needs appends to to what the kernel refuses id without: NewPlan adds it before id and
// deletes it after id. A VIP that is bare, or on its way out, does without the link, and
// rules on their way out do without their sets.
func Needs(to []ID, id ID) []ID {
	if needs := kindTable[id.Kind].needs; needs != nil {
		return needs(to, id)
	}
	return to
}
