package netutil

import "strings"

// Ours identifies our rules among those of other programs, and gives the places of our jumps.
type Ours struct {
	Prefix string // prefix of the names of our chains
	// Guests is the prefix of chains whose jumps may stand in front of ours; "": none.
	Guests string
	// Places has the place of our jumps in a built-in chain; default: First.
	Places map[Chain]Place
}

// Place is the place of our jumps in a built-in chain.
type Place uint8

// The places.
const (
	First    Place = iota // in front of all rules but the guests that come first
	Behind                // right behind the last guest, and in front of all rules without one
	Anywhere              // missing ones are inserted as with Behind
)

func (o Ours) own(chain string) bool { return strings.HasPrefix(chain, o.Prefix) && chain != "" }

func (o Ours) guest(chain string) bool {
	return o.Guests != "" && strings.HasPrefix(chain, o.Guests)
}

// rank finds the place of our jumps in a built-in chain, rule by rule.
type rank struct {
	place   Place
	others  int    // number of other programs' rules so far
	behind  int    // number of other programs' rules in front of the place of ours
	between string // the first other rule behind that place
	came    bool   // one of our jumps has come
	wrong   string // the misplaced rule, in words, or ""
}

// own adds one of our jumps.
func (r *rank) own() {
	r.came = true
	if r.wrong == "" && r.between != "" && r.place != Anywhere {
		r.wrong = r.between + " stands in front"
	}
}

// other adds another program's rule: chain is the chain to which it leads, if any; else word
// is its target.
func (r *rank) other(o Ours, chain, word string) {
	r.others++
	switch guest := o.guest(chain); {
	case guest && (r.place != First || r.others == r.behind+1):
		if r.came && r.place == Behind && r.wrong == "" {
			r.wrong = "the jump to " + chain + " stands behind"
		}
		r.behind, r.between = r.others, ""
	case r.between != "" || guest:
	case chain != "":
		r.between = "the jump to " + chain
	case word != "":
		r.between = "a rule for " + word
	default:
		r.between = "a rule"
	}
}
