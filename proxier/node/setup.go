package node

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Config has the settings for Setup.
type Config struct {
	Sysctls     []Sysctl
	OOMScoreAdj *int // of this process, -1000 to 1000, proc(5); nil: leave it
}

// Outcome is the result of Setup.
type Outcome struct {
	Changed  []string // the changed settings, in words
	Warnings []string // the failed settings that kube-ipvs can do without
}

// Setup makes the settings that need more rights than CAP_NET_ADMIN. It does not write a setting
// that is right already, so that a process without these rights can run it after one with them.
// Its error names every wrong sysctl.
//
// As in kube-proxy, a failure of the score for the OOM killer or of the size of conntrack's hash
// table is only a warning: only the initial network namespace can set the latter.
func Setup(c Config) (Outcome, error) {
	var out Outcome
	var err error
	out.Changed, err = Apply(c.Sysctls)
	for _, s := range c.Sysctls {
		if s.Path != conntrackMax || err != nil {
			continue
		}
		if size, bad := strconv.Atoi(s.Value); bad == nil {
			out.note(raise(hashSize, size/entriesPerBucket))
		}
	}
	if c.OOMScoreAdj != nil {
		out.note(write(oomScoreAdj, strconv.Itoa(*c.OOMScoreAdj)))
	}
	return out, err
}

// note adds the result of a write to the outcome.
func (o *Outcome) note(change string, err error) {
	if err != nil {
		o.Warnings = append(o.Warnings, err.Error())
	} else if change != "" {
		o.Changed = append(o.Changed, change)
	}
}

const (
	oomScoreAdj = "/proc/self/oom_score_adj"
	hashSize    = "/sys/module/nf_conntrack/parameters/hashsize"

	entriesPerBucket = 4 // as kube-proxy has it
)

// raise writes n to a file with a lower number.
func raise(file string, n int) (change string, err error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if have, err := strconv.Atoi(strings.TrimSpace(string(p))); err == nil && have >= n {
		return "", nil
	}
	return write(file, strconv.Itoa(n))
}

// write writes value to a file with another value.
func write(file, value string) (change string, err error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	was := strings.TrimSpace(string(p))
	if was == value {
		return "", nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // never creates
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return "", fmt.Errorf("it is %s and should be %s: %w", was, value, err)
	}
	return fmt.Sprintf("%s from %s to %s", file, was, value), nil
}

// Cores returns the number of online cores of the node. The process may have fewer.
func Cores() int {
	p, err := os.ReadFile("/sys/devices/system/cpu/online")
	if n := countRanges(strings.TrimSpace(string(p))); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// countRanges counts the numbers in a list such as 0-3,8. It returns 0 for other texts.
func countRanges(list string) int {
	n := 0
	for _, r := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(r, "-")
		if !ranged {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || b < a {
			return 0
		}
		n += b - a + 1
	}
	return n
}
