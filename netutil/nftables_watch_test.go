package netutil

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tellsAppended reports whether the kernel tells of a new rule that it stands at the
// end: those before 5.16 do not.
func tellsAppended(t *testing.T, family string) bool {
	t.Helper()
	file, err := subscribeRules()
	must(t, err)
	defer file.Close()
	nft(t, "add rule "+family+" nat FOREIGN counter")
	buf, told := make([]byte, 16<<10), false
	n, err := file.Read(buf)
	must(t, err)
	must(t, walk(buf[:n], func(h unix.NlMsghdr, _ []byte) error {
		told = told || h.Type&0xff == unix.NFT_MSG_NEWRULE && h.Flags&unix.NLM_F_APPEND != 0
		return nil
	}))
	return told
}

// Each change is one transaction, of which the kernel has told when the tool ends.
func TestRuleEvents(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		ip, other := "ip", "ip6"
		if family == IPv6 {
			ip, other = other, ip
		}
		ours(t, NFT, family)
		file, err := subscribeRules()
		must(t, err)
		defer file.Close()
		w := &ruleWatcher{ours: Ours{Prefix: "KIPVS", Guests: "cali-"}}
		told := tellsAppended(t, ip)
		_, _, err = w.drain(int(file.Fd()))
		must(t, err)
		for _, tt := range []struct {
			do   []string
			want bool
		}{
			{[]string{"add table inet theirs", "add chain inet theirs KIPVS-X", "add rule inet theirs KIPVS-X tcp dport 80 accept"}, false},
			{[]string{"add set inet theirs s { type ipv4_addr; }", "add element inet theirs s { 10.0.0.1 }", "flush chain inet theirs KIPVS-X"}, false},
			{[]string{"delete table inet theirs", "add table " + ip + " theirs", "add chain " + ip + " theirs nat"}, false},
			{[]string{"add table " + ip + " raw", "add chain " + ip + " raw PREROUTING", "add rule " + ip + " raw PREROUTING accept"}, false},
			{[]string{"flush chain " + ip + " nat FOREIGN", "add rule " + ip + " nat FOREIGN counter drop"}, false},
			{[]string{"add rule " + ip + " nat OUTPUT tcp dport 80 counter jump FOREIGN"}, !told},
			{[]string{"insert rule " + ip + " nat OUTPUT tcp dport 80 counter jump FOREIGN"}, true},
			{[]string{"insert rule " + ip + " nat FOREIGN counter"}, false},
			{[]string{"add chain " + ip + " nat cali-OUTPUT", "add rule " + ip + " nat OUTPUT jump cali-OUTPUT"}, true},
			{[]string{"insert rule " + ip + " nat OUTPUT tcp dport 80 counter jump KIPVS-NAT"}, true},
			{[]string{"add rule " + ip + " nat KIPVS-NAT drop"}, true},
			{[]string{"flush chain " + ip + " filter KIPVS-FILTER"}, true},
			{[]string{"flush chain " + ip + " filter INPUT"}, true},
			{[]string{"add chain " + ip + " filter KIPVS-OLD"}, true},
			{[]string{"delete chain " + ip + " filter KIPVS-OLD"}, true},
			{[]string{"add table inet theirs", "flush chain " + ip + " nat POSTROUTING", "delete table inet theirs"}, true},
			{[]string{"flush table " + ip + " nat"}, true},
			{[]string{"delete table " + ip + " filter"}, true},
			{[]string{"flush ruleset"}, true},
			{[]string{"add table " + other + " nat", "add chain " + other + " nat KIPVS-NAT"}, true},
		} {
			nft(t, tt.do...)
			read, some, err := w.drain(int(file.Fd()))
			if !read || some != tt.want || err != nil {
				t.Errorf("%q: read %v, of interest %v, want %v, %v", tt.do, read, some, tt.want, err)
			}
		}
	})
}

// Changes are told of, also after more than the socket holds, and end with ctx.
func TestWatchRules(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		ours(t, NFT, family)
		ip := map[Family]string{IPv4: "ip", IPv6: "ip6"}[family]
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		calls := 0
		err := WatchRules(ctx, Ours{Prefix: "KIPVS"}, func() {
			switch calls++; calls {
			case 1: // it listens
				nft(t, "flush chain "+ip+" nat KIPVS-NAT")
			case 2:
				many := []string{"add table inet theirs", "add chain inet theirs c"}
				for range 5000 {
					many = append(many, "add rule inet theirs c counter accept")
				}
				nft(t, many...)
			case 3: // events were lost
				nft(t, "flush chain "+ip+" filter INPUT")
			case 4:
				cancel()
			}
		})
		if err != nil || calls != 4 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}
