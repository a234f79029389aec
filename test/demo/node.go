package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// kubeIPVS runs a subcommand. code is its exit code.
func (d *demo) kubeIPVS(ctx context.Context, args ...string) (out string, code int, err error) {
	text, err := exec.CommandContext(ctx, d.binary, args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return string(text), exit.ExitCode(), nil
	}
	return string(text), 0, err
}

// stateText returns the lines that "kube-ipvs state" prints.
func (d *demo) stateText(ctx context.Context) ([]string, error) {
	out, code, err := d.kubeIPVS(ctx, "state")
	if err == nil && code != 0 {
		err = fmt.Errorf("kube-ipvs state: exit code %d: %s", code, out)
	}
	return lines(out), err
}

// frontend returns the part of it about one address of a Service.
func (d *demo) frontend(ctx context.Context, address string) ([]string, error) {
	all, err := d.stateText(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 0 && f[len(f)-1] == address
	})
	if at < 0 {
		return nil, fmt.Errorf("kube-ipvs state does not show %s", address)
	}
	out := all[at : at+1]
	for _, line := range all[at+1:] {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		out = append(out, line)
	}
	return out, nil
}

// realServer is an endpoint as "kube-ipvs state -o json" shows it.
type realServer struct {
	Address     string `json:"address"`
	Weight      int    `json:"weight"`
	Connections int    `json:"connections"`
}

// real returns an endpoint behind an address, or nil if it is not there.
func (d *demo) real(ctx context.Context, frontend, endpoint string) (*realServer, error) {
	out, _, err := d.kubeIPVS(ctx, "state", "-o", "json")
	if err != nil {
		return nil, err
	}
	var s struct {
		Services []struct {
			Frontends []struct {
				Address string `json:"address"`
				Servers []struct {
					Endpoints []realServer `json:"endpoints"`
				} `json:"virtualServers"`
			} `json:"frontends"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("kube-ipvs state -o json: %w: %s", err, out)
	}
	for _, service := range s.Services {
		for _, f := range service.Frontends {
			for _, v := range f.Servers {
				for _, e := range v.Endpoints {
					if f.Address == frontend && e.Address == endpoint {
						return &e, nil
					}
				}
			}
		}
	}
	return nil, nil
}

// round is a line of the log about a round.
type round string

// rounds returns those that a log has.
func rounds(log string) []round {
	var out []round
	for line := range strings.Lines(log) {
		if strings.Contains(line, " msg=round ") && strings.HasSuffix(line, "\n") {
			out = append(out, round(strings.TrimSpace(line)))
		}
	}
	return out
}

// get returns a field, or "".
func (r round) get(key string) string {
	_, after, _ := strings.Cut(string(r), " "+key+"=")
	value, _, _ := strings.Cut(after, " ")
	return value
}

// pick returns fields as the log has them.
func (r round) pick(keys ...string) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k+"="+r.get(k))
	}
	return out
}

// took returns how long the round took, rounded to be read.
func (r round) took() string {
	d, err := time.ParseDuration(r.get("took"))
	if err != nil {
		return "an unknown time"
	}
	return brief(d)
}

// brief rounds a duration to the digits that matter to a reader.
func brief(d time.Duration) string {
	switch {
	case d >= 2*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// inventory lists all objects of the kinds that kube-ipvs programs: chains and rules,
// sets, links, addresses, routes, virtual servers. It leaves out those that the kernel
// adds by itself: link-local addresses and their routes, and the anycast addresses of
// a host that forwards IPv6. Empty tables of iptables do not count either.
const inventory = `
for save in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
	if command -v $save >/dev/null; then
		$save 2>/dev/null | sed -n -e "s/^-A/$save &/p" -e "s/^\(:.* -\) .*/$save \1/p"
	fi
done
ipset list -n | sed 's/^/ipset /'
ls /sys/class/net | sed 's/^/link /'
ip -o addr | grep -v ' fe80' | awk '{print "address", $2, $4}'
for family in -4 -6; do
	ip $family route show table all | { grep -v -e fe80 -e ff00 -e ^anycast || true; } | sed 's/^/route /'
done
ipvsadm -Sn | sed 's/^/ipvs /'
`

// takeInventory returns it, sorted.
func (d *demo) takeInventory(ctx context.Context) (string, error) {
	out, err := d.bed.Node.Shell(ctx, inventory)
	list := lines(out)
	slices.Sort(list)
	return strings.Join(list, "\n"), err
}

// differences says in at most a few lines how two inventories differ.
func differences(before, after string) []string {
	var out []string
	a, b := lines(before), lines(after)
	for _, line := range a {
		if !slices.Contains(b, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			out = append(out, "+ "+line)
		}
	}
	if len(out) > 12 {
		out = append(out[:12], fmt.Sprintf("and %d more", len(out)-12))
	}
	return out
}
