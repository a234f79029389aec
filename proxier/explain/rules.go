package explain

import "kube-ipvs/netutil/iptables"

// place is where rules stand.
type place struct{ table, chain string }

// ruleset is the rules of a family, in order.
type ruleset map[place][]iptables.Rule

// parse reads what iptables-save prints. Lines that are no rules it ignores.
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

// decides says of each option that can be judged here whether it keeps packets from
// its rule. The others say what becomes of those that it is for.
var decides = map[string]bool{
	"-s": true, "-d": true, "-i": true, "-p": true, "--match-set": true, "--src-type": true, "--dst-type": true,
	"--ctstate": true, "--ctstatus": true, "--ctdir": true, "--mark": true,
	"-m": false, "--comment": false, "--update-counters": false, "-j": false, "-g": false, "--to": false,
	"--to-destination": false, "--set-xmark": false, "--random-fully": false, "--reject-with": false,
}

// unknown returns why a rule cannot be judged; empty: it can.
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
