package netutil

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Backend is a variant of the iptables tools. The two keep their rules in different places of
// the kernel, and both apply; a node should use one.
type Backend string

// The backends.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// Other returns the other variant.
func (b Backend) Other() Backend {
	if b == NFT {
		return Legacy
	}
	return NFT
}

// ErrBusy means that another program held the xtables lock for five seconds, the limit of
// Restore. The caller should try again.
var ErrBusy = errors.New("another program holds the xtables lock")

// DetectBackend returns the backend that this node uses, and changes nothing. It is the one in
// which the kubelet left its hint; else the one with chains whose name begins with prefix, of
// either family, as an earlier run leaves them; else the one with more rules; else nft if it
// works; else legacy. It asks nft first, and reads rules only if names of chains do not decide.
func DetectBackend(ctx context.Context, prefix string) (Backend, error) {
	usable, err := backends(ctx)
	if err != nil {
		return "", err
	}
	for _, sign := range []func(Chain) bool{
		func(c Chain) bool {
			return c.Table == "mangle" && (c.Name == "KUBE-IPTABLES-HINT" || c.Name == "KUBE-KUBELET-CANARY")
		},
		func(c Chain) bool { return strings.HasPrefix(c.Name, prefix) },
	} {
		for _, b := range usable {
			if slices.ContainsFunc(b.chains, sign) {
				return b.Backend, nil
			}
		}
	}
	best, most := usable[0].Backend, 0
	for _, b := range usable {
		n, err := b.CountRules()
		if err != nil {
			return "", fmt.Errorf("find out which iptables is in use: %w", err)
		}
		if n > most {
			best, most = b.Backend, n
		}
	}
	return best, nil
}

// Backends returns the backends that work on this host, nft first.
func Backends(ctx context.Context) ([]Backend, error) {
	usable, err := backends(ctx)
	var out []Backend
	for _, l := range usable {
		out = append(out, l.Backend)
	}
	return out, err
}

// listing is what a backend holds.
type listing struct {
	Backend
	chains []Chain // user-defined, of both families
}

// ErrAbsent means that the host lacks a backend's tools or its kernel part.
var ErrAbsent = errors.New("not available here")

// backends lists the backends that work on this host, nft first. An installed one that fails is
// an error: to take the other one would split the node's rules. It does not ask the IPv6 tools,
// since a host may lack IPv6.
func backends(ctx context.Context) ([]listing, error) {
	var usable []listing
	var errs []error
	for _, b := range []Backend{NFT, Legacy} {
		_, err := b.tool(ctx, IPv4, "restore")
		l := listing{Backend: b}
		if err == nil {
			l.chains, err = b.chains(IPv4)
		}
		if errors.Is(err, ErrAbsent) {
			errs = append(errs, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find out which iptables is in use: %w", err)
		}
		if v6, err := b.chains(IPv6); err == nil {
			l.chains = append(l.chains, v6...)
		}
		usable = append(usable, l)
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("find a usable iptables: %w", errors.Join(errs...))
	}
	return usable, nil
}

// tool finds the program of this backend for a family that does save or
// restore: the one with the backend in its name, else the plain one if it is
// of this backend.
func (b Backend) tool(ctx context.Context, family Family, does string) (string, error) {
	base := family.Tool()
	named := base + "-" + string(b) + "-" + does
	if path, err := exec.LookPath(named); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(base + "-" + does)
	if err != nil {
		return "", fmt.Errorf("%w: neither %s nor %s-%s is installed", ErrAbsent, named, base, does)
	}
	version, msg, err := run(ctx, "", path, "-V")
	if err != nil {
		return "", fmt.Errorf("%s -V: %w: %s", path, err, oneLine(msg))
	}
	have := Legacy // before 1.8 there was nothing else and it did not say so
	if strings.Contains(version, "nf_tables") {
		have = NFT
	}
	if have != b {
		return "", fmt.Errorf("%w: %s is not installed and %s is of backend %s", ErrAbsent, named, path, have)
	}
	return path, nil
}

// Restore runs iptables-restore with input for a family and --noflush, so that only
// chains declared in input lose their rules. Each table in input is one transaction, but
// earlier tables stay written if a later one fails. An empty input does nothing.
//
// The error quotes the first line that failed and the tool's own message. It is ErrBusy if
// another program held the lock. Restore kills a tool that hangs: the error says so, and each
// table may be written or not.
func (b Backend) Restore(ctx context.Context, family Family, input string) error {
	if input == "" {
		return nil
	}
	tool, err := b.tool(ctx, family, "restore")
	if err != nil {
		return err
	}
	out, msg, err := run(ctx, input, tool, "-w", "5", "--noflush")
	if err != nil {
		return restoreError(tool, input, msg+out, err)
	}
	return nil
}

// lockHeld is what the legacy tools say of the lock. Their exit code is that of many
// things: a missing right, no memory, a lock file that cannot be written.
const lockHeld = "holding the xtables lock"

// failedLine finds the number in the many ways in which the tools name a line.
var failedLine = regexp.MustCompile(`\bline:? (\d+)\b`)

// restoreError explains why tool failed with err after printing msg. The nft
// tool lists every line after the first bad one too; the first is the cause.
func restoreError(tool, input, msg string, err error) error {
	m := failedLine.FindStringSubmatch(msg)
	if m == nil {
		if strings.Contains(msg, lockHeld) {
			return fmt.Errorf("%s: %w: %s", tool, ErrBusy, oneLine(msg))
		}
		return fmt.Errorf("%s: %w: %s", tool, err, oneLine(msg))
	}
	text := ""
	lines := strings.Split(input, "\n")
	if n, _ := strconv.Atoi(m[1]); n > 0 && n <= len(lines) {
		text = lines[n-1]
	}
	return fmt.Errorf("%s: %w: line %s of its input failed: %q: %s", tool, err, m[1], text, oneLine(msg))
}

// oneLine shortens what a tool printed to what fits a log line.
func oneLine(msg string) string {
	const limit = 400
	var kept []string
	for _, l := range strings.Split(msg, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "Try `") {
			kept = append(kept, l)
		}
	}
	s := strings.Join(kept, "; ")
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return s
}
