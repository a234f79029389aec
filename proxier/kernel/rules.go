package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// readRules notes the rules of each family. Where they are proved and their mark is
// what it was, that costs no process, and nothing for rules of others. closely: also
// where the number and size of legacy rules say that nothing has changed. Rules that
// cannot be read are noted as other than they are to be: nothing else rests on them,
// and the failure to write them tells what is wrong.
func (v *View) readRules(ctx context.Context, note put, closely bool) error {
	v.fresh = map[netip.Addr]netutil.Ruleset{}
	for _, family := range v.families() {
		spec := state.Spec{Text: v.expected[number(family)/6]}
		want, own, err := v.parse(family, spec.Text)
		if err != nil {
			return err
		}
		have, err := v.provedRules(ctx, family, want, closely)
		if err == nil {
			v.fresh[family], v.freshAt = have, time.Now()
		}
		haveOwn, own, failed := v.readOwn(family, own)
		if err = errors.Join(err, failed); err != nil && (spec.Text == "" || ctx.Err() != nil) { // it is for those who look only
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

// differences says on one line in what rules differ from those that are wanted.
func (v *View) differences(family netip.Addr, have, want netutil.Ruleset) string {
	const most = 300
	if len(v.expected[number(family)/6]) == 0 {
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
		text += fmt.Sprintf("; iptables prints nothing of %s and %d chains more: a rule there is not its own", blind[0], len(blind)-1)
	}
	return text + v.proof.contest(family).told()
}

// proof remembers of which rules it was proved that they are what they are to be,
// by the mark that they had. The loop and those who read beside it share one.
type proof struct {
	mu       sync.Mutex
	rules    [2]string // that are proved, IPv4 and IPv6
	marks    [2]netutil.Mark
	contests [2]contest
	noOwn    atomic.Bool // the kernel cannot hold our table of nftables
}

// of returns the mark that rules had when they were proved, zero if they were not.
func (p *proof) of(family netip.Addr, rules string) netutil.Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := number(family) / 6; p.rules[i] == rules {
		return p.marks[i]
	}
	return netutil.Mark{}
}

func (p *proof) set(family netip.Addr, rules string, mark netutil.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := number(family) / 6
	p.rules[i], p.marks[i] = rules, mark
}

func (p *proof) contest(family netip.Addr) contest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.contests[number(family)/6]
}

// moved notes that jumps were put where they are to stand.
func (p *proof) moved(family netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.contests[number(family)/6].moved(time.Now())
}

// provedRules returns the rules of a family. It reads them by a process unless they
// are proved to be those that are wanted. Jumps that have lost their place again and
// again are left there for a while.
func (v *View) provedRules(ctx context.Context, family netip.Addr, want netutil.Ruleset, closely bool) (netutil.Ruleset, error) {
	if netutil.Equal(want, netutil.Ruleset{}) {
		return v.rules(ctx, family, want, netutil.Mark{}) // a reader for people knows no rules to compare with
	}
	rules := v.expected[number(family)/6]
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

// prove takes rules for proved that were found to be as they are to be, if their mark
// is still what it was before.
func (v *View) prove(family netip.Addr, rules string, want netutil.Ruleset, mark netutil.Mark) {
	if after, err := v.mark(family, want, netutil.Mark{}); err == nil && after.Same(mark) {
		v.proof.set(family, rules, after)
	}
}

func (v *View) mark(family netip.Addr, want netutil.Ruleset, before netutil.Mark) (netutil.Mark, error) {
	return v.backend.MarkRules(number(family), ours(family), want, before)
}

// rules reads the rules of a family, of which some had a mark when they were proved.
func (v *View) rules(ctx context.Context, family netip.Addr, some netutil.Ruleset, proved netutil.Mark) (netutil.Ruleset, error) {
	return v.backend.ReadChangedRules(v.counted(ctx), number(family), ours(family), some, proved)
}

// counted returns a context with which the tools that are started count.
func (v *View) counted(ctx context.Context) context.Context {
	return netutil.CountTools(ctx, &v.execs)
}

// restoreTime is how long the rules of a family may take to be written: the loop
// waits for it, and iptables may hang.
const restoreTime = 15 * time.Second

// freshFor is how long rules are as they were read: as long as it takes to write
// what the reading has shown.
const freshFor = time.Second

// restore makes the rules of a family what they are to be, in one run of
// iptables-restore, or removes them.
func (l *Linux) restore(ctx context.Context, op state.Op) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTime, fmt.Errorf("iptables did not end within %s", restoreTime))
	defer cancel()
	family, rules := op.ID.Addr(), ""
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
	if err := l.backend.Restore(l.counted(ctx), number(family), netutil.RestoreInput(want, have)); err != nil {
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

// proveWritten proves rules that were just written: reading them shows what others
// have made of them before their mark was taken, and so does the mark if they were
// proved once. blind: they cannot be read, which is no reason to write them again and
// again. Before 1.8.6 a single rule of others that is not iptables' is enough for the
// nft tools not to print anything of its table.
func (l *Linux) proveWritten(ctx context.Context, family netip.Addr, rules string, want netutil.Ruleset, blind bool) {
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

// ours says where our jumps are to stand. Calico's felix puts its own (cali-INPUT and so
// on) on top, and does so again when they are not there: there is no point in a contest
// with it. In INPUT it must see service traffic before we accept that: by the mark that
// it makes there it applies the policies of pods in OUTPUT, by which IPVS sends. Behind
// ours those of all others are to stand, such as those of kube-router, which would judge
// packets to images as if these were the node's own addresses, and host ports for
// "local" addresses. In FORWARD nothing hangs on it, and rules that an operator puts in
// front hold, as with kube-proxy.
func ours(family netip.Addr) netutil.Ours {
	return netutil.Ours{Prefix: prefix(family), Guests: "cali-", Places: places}
}

var places = map[netutil.Chain]netutil.Place{
	{Table: "filter", Name: "INPUT"}:   netutil.Behind,
	{Table: "filter", Name: "FORWARD"}: netutil.Anywhere,
}

// RuleEvents says which changes of rules may matter, of both families.
func RuleEvents() netutil.Ours {
	o := ours(state.IPv4)
	o.Prefix = strings.TrimSuffix(state.Prefix4, "-")
	return o
}

func prefix(family netip.Addr) string {
	if family.Is4() {
		return state.Prefix4
	}
	return state.Prefix6
}

// inet is the number by which sockets, sets and IPVS know the family of an address.
func inet(family netip.Addr) uint8 {
	if family.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func number(family netip.Addr) int {
	if family.Is4() {
		return 4
	}
	return 6
}
