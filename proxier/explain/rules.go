package explain

import "kube-ipvs/netutil/iptables"

// place is a chain of a table.
type place struct{ table, chain string }

// ruleset has the rules of a family, in order.
type ruleset map[place][]iptables.Rule

// parse parses the output of iptables-save, and ignores lines that are not rules.
func parse(text string) ruleset {
	out := ruleset{}
	for l, err := range iptables.Lines(text) {
		if err == nil && l.Policy == "" {
			r, _ := iptables.Parse(l.Chain, l.Rule)
			at := place{l.Table, l.Chain}
			out[at] = append(out[at], r)
		}
	}
	return out
}

// decides has each option that explain can judge: true if it is a condition on packets, and
// false if it only says what the rule does.
var decides = map[string]bool{
	"-s": true, "-d": true, "-i": true, "-p": true, "--match-set": true, "--src-type": true, "--dst-type": true,
	"--ctstate": true, "--ctstatus": true, "--ctdir": true, "--mark": true,
	"-m": false, "--comment": false, "--update-counters": false, "-j": false, "-g": false, "--to": false,
	"--to-destination": false, "--set-xmark": false, "--random-fully": false, "--reject-with": false,
}

// unknown returns why explain cannot judge a rule, or "".
func unknown(r *iptables.Rule) string {
	for _, o := range r.Options {
		if _, known := decides[o.Name]; !known {
			return "nothing here knows " + o.Name
		}
	}
	if r.Target() == "" {
		return "it has no target"
	}
	return ""
}
