package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// readRules notes the rules of each family. If they are proved and their mark is the same,
// that costs no process, and no work for the rules of other programs. closely: it compares
// legacy rules even if their number and size are the same. It notes rules that cannot be
// read as Differs: no other object depends on them, and the error of their write tells the
// reason.
func (v *View) readRules(ctx context.Context, note put, closely bool) error {
	v.fresh = map[state.Family]netutil.Ruleset{}
	for _, family := range v.families() {
		spec := state.Spec{Text: v.expected[family]}
		want, own, err := v.parse(family, spec.Text)
		if err != nil {
			return err
		}
		have, err := v.provedRules(ctx, family, want, closely)
		if err == nil {
			v.fresh[family], v.freshAt = have, time.Now()
		}
		haveOwn, own, failed := v.readOwn(family, own)
		if err = errors.Join(err, failed); err != nil && (spec.Text == "" || ctx.Err() != nil) { // no rules are expected: the View is for commands that only look
			return err
		}
		have, want = have.Join(haveOwn), want.Join(own)
		switch {
		case err != nil:
			spec = state.Spec{Condition: state.Differs, Text: "cannot be read"}
		case netutil.Equal(have, netutil.Ruleset{}):
			continue
		case !netutil.Equal(have, want):
			spec = state.Spec{Condition: state.Differs, Text: v.differences(family, have, want)}
		}
		note(state.RulesID(family), state.Intern(spec))
	}
	return nil
}

// EachRule is part of Reader.
func (v *View) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	if err := v.open(ctx); err != nil {
		return err
	}
	return v.readRules(ctx, note, false)
}

// differences returns the differences from the wanted rules, on one line.
func (v *View) differences(family state.Family, have, want netutil.Ruleset) string {
	const most = 300
	if len(v.expected[family]) == 0 {
		return "not compared"
	}
	all := netutil.Missing(have, want)
	text := strings.Join(all[:min(len(all), 3)], "; ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	if more := len(all) - 3; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	if blind := have.Unreadable(); len(blind) > 0 {
		text += fmt.Sprintf("; iptables prints nothing of %s and %d more chains, since they have a rule that it did not write", blind[0], len(blind)-1)
	}
	return text + v.proof.contest(family).told()
}

// proof has the rules that were proved to be the wanted ones, and their marks at that time.
// The loop and its Readers share one.
type proof struct {
	mu       sync.Mutex
	rules    [2]string // proved rules of IPv4 and IPv6
	marks    [2]netutil.Mark
	contests [2]contest
	noOwn    atomic.Bool // the kernel cannot hold the nftables table of kube-ipvs
}

// of returns the mark of proved rules; zero: they are not proved.
func (p *proof) of(family state.Family, rules string) netutil.Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules[family] == rules {
		return p.marks[family]
	}
	return netutil.Mark{}
}

func (p *proof) set(family state.Family, rules string, mark netutil.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules[family], p.marks[family] = rules, mark
}

func (p *proof) contest(family state.Family) contest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.contests[family]
}

// moved notes that jumps were moved to their place.
func (p *proof) moved(family state.Family) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.contests[family].moved(time.Now())
}

// provedRules returns the rules of a family. It reads them by a process unless they are
// proved to be the wanted ones. It tolerates misplaced jumps while their contest waits.
func (v *View) provedRules(ctx context.Context, family state.Family, want netutil.Ruleset, closely bool) (netutil.Ruleset, error) {
	if netutil.Equal(want, netutil.Ruleset{}) {
		return v.rules(ctx, family, want, netutil.Mark{}) // no rules are expected
	}
	rules := v.expected[family]
	proved := v.proof.of(family, rules)
	before := proved
	if closely {
		before = netutil.Mark{}
	}
	mark, err := v.mark(family, want, before)
	wait := time.Now().Before(v.proof.contest(family).next)
	if err == nil && mark.Same(proved) && (wait || !mark.Misplaced()) {
		v.proof.set(family, rules, mark)
		return want, nil
	}
	have, failed := v.rules(ctx, family, want, proved)
	if failed != nil {
		return have, failed
	}
	if wait {
		have = have.Tolerated()
	}
	if err == nil && netutil.Equal(have, want) {
		v.prove(family, rules, want, mark)
	}
	return have, nil
}

// prove notes rules that equal the wanted ones as proved, if mark, taken before they were
// read, is still the same.
func (v *View) prove(family state.Family, rules string, want netutil.Ruleset, mark netutil.Mark) {
	if after, err := v.mark(family, want, netutil.Mark{}); err == nil && after.Same(mark) {
		v.proof.set(family, rules, after)
	}
}

func (v *View) mark(family state.Family, want netutil.Ruleset, before netutil.Mark) (netutil.Mark, error) {
	return v.backend.MarkRules(family, ours(family), want, before)
}

// rules reads the rules of a family. proved is the mark of some, or zero.
func (v *View) rules(ctx context.Context, family state.Family, some netutil.Ruleset, proved netutil.Mark) (netutil.Ruleset, error) {
	return v.backend.ReadChangedRules(v.counted(ctx), family, ours(family), some, proved)
}

// counted returns a context that counts the processes of iptables tools for Stats.
func (v *View) counted(ctx context.Context) context.Context {
	return netutil.CountTools(ctx, &v.execs)
}

// restoreTime bounds the write of a family's rules: the loop waits for it, and iptables may
// hang.
const restoreTime = 15 * time.Second

// freshFor is the time for which rules that Read has read are taken for the present ones: it
// is enough for the write that follows.
const freshFor = time.Second

// restore writes the rules of a family in one run of iptables-restore, or removes them.
func (l *Linux) restore(ctx context.Context, op state.Op) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTime, fmt.Errorf("iptables did not end within %s", restoreTime))
	defer cancel()
	family, rules := op.ID.Family(), ""
	if op.Verb != state.Delete {
		rules = op.Spec.Value().Text
	}
	want, own, err := l.parse(family, rules)
	if err != nil {
		return err
	}
	if rules == "" {
		if err := l.writeOwn(family, own); err != nil {
			return err
		}
	}
	have, fresh := l.fresh[family]
	delete(l.fresh, family)
	proved := l.proof.of(family, rules)
	if !fresh || time.Since(l.freshAt) > freshFor {
		if have, err = l.rules(ctx, family, want, proved); err != nil {
			return err
		}
	}
	if err := l.backend.Restore(l.counted(ctx), family, netutil.RestoreInput(want, have)); err != nil {
		return err
	}
	if len(have.Misplaced()) > 0 {
		l.proof.moved(family)
	}
	if rules != "" {
		if err := l.writeOwn(family, own); err != nil {
			return err
		}
		l.proveWritten(ctx, family, rules, want, len(have.Unreadable()) > 0 && !proved.Same(proved))
	}
	return nil
}

// proveWritten proves rules that were just written. Another program may change them before
// their mark is taken: reading them shows that, or the mark if they were proved before.
// blind: iptables cannot print them, and they count as proved, since writing them again and
// again would not help. Before 1.8.6 the nft tools print no rule of a table that has a single
// rule which iptables did not write.
func (l *Linux) proveWritten(ctx context.Context, family state.Family, rules string, want netutil.Ruleset, blind bool) {
	mark, err := l.mark(family, want, netutil.Mark{})
	if err != nil {
		return
	}
	if !blind && !mark.Same(l.proof.of(family, rules)) {
		have, err := l.rules(ctx, family, netutil.Ruleset{}, netutil.Mark{})
		if err != nil || !netutil.Equal(have, want) {
			return
		}
	}
	l.prove(family, rules, want, mark)
}

// ours returns the places of kube-ipvs's jumps. Calico's felix puts its own (cali-INPUT and so
// on) on top again and again, so that a contest is useless. In INPUT it must see service
// traffic before kube-ipvs accepts it, since it makes a mark there for the policies of pods
// in OUTPUT, by which IPVS sends. The jumps of all others must stand behind kube-ipvs's:
// kube-router would judge packets to mapped addresses as packets to the node, and so would
// host ports for "local" addresses. In FORWARD the place does not matter, and the rules that
// an operator puts in front hold, as with kube-proxy.
func ours(family state.Family) netutil.Ours {
	return netutil.Ours{Prefix: prefix(family), Guests: "cali-", Places: places}
}

var places = map[netutil.Chain]netutil.Place{
	{Table: "filter", Name: "INPUT"}:   netutil.Behind,
	{Table: "filter", Name: "FORWARD"}: netutil.Anywhere,
}

// RuleEvents returns the filter for changes of rules that may matter, of both families.
func RuleEvents() netutil.Ours {
	o := ours(state.IPv4)
	o.Prefix = strings.TrimSuffix(state.Prefix4, "-")
	return o
}

func prefix(family state.Family) string {
	return [...]string{state.Prefix4, state.Prefix6}[family]
}
