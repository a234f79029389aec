package netutil

import "strings"

// Ours tells our rules from those of others, and says where our jumps are to stand
// among these.
type Ours struct {
	Prefix string // of the names of our chains
	// Guests is the prefix of the names of chains, jumps to which may stand in front
	// of ours; empty: there are none.
	Guests string
	// Places says of built-in chains where in them our jumps are to stand: First, but
	// for those that it names.
	Places map[Chain]Place
}

// Place is where our jumps are to stand in a built-in chain.
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

// rank finds out, rule by rule of a built-in chain, where our jumps stand in it.
type rank struct {
	place   Place
	others  int    // rules of others that have come
	behind  int    // rules of others that ours are to stand behind
	between string // the first of those that have come since
	came    bool   // one of ours has
	wrong   string // what stands where it is not to, or ""
}

// own takes in a jump of ours.
func (r *rank) own() {
	r.came = true
	if r.wrong == "" && r.between != "" && r.place != Anywhere {
		r.wrong = r.between + " stands in front"
	}
}

// other takes in a rule of others that leads to a chain, or else does what the word
// for its target says.
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
