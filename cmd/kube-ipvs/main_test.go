package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
)

func TestDispatch(t *testing.T) {
	tests := []struct {
		name     string
		args     []string
		code     int
		out, err string // parts of what is printed
	}{
		{"nothing", nil, exitOK, "Usage: kube-ipvs COMMAND", ""},
		{"help", []string{"help"}, exitOK, "cleanup", ""},
		{"help about a command", []string{"help", "config", "print"}, exitOK, "Usage: kube-ipvs config print", ""},
		{"help about no command", []string{"help", "config", "show"}, exitUsage, "", `unknown command "show"; kube-ipvs config --help lists`},
		{"help about too much", []string{"help", "state", "x"}, exitUsage, "", `unknown command "x"`},
		{"version", []string{"version"}, exitOK, "kube-ipvs devel", ""},
		{"version with an argument", []string{"version", "x"}, exitUsage, "", `"x" is not a flag`},
		{"unknown command", []string{"start"}, exitUsage, "", `kube-ipvs: unknown command "start"; kube-ipvs --help lists the commands`},
		{"misspelt command", []string{"stat"}, exitUsage, "", `unknown command "stat" (is state meant?)`},
		{"misspelt command of config", []string{"config", "validat"}, exitUsage, "", `(is validate meant?)`},
		{"misspelt flag", []string{"plan", "--sheduler=rr"}, exitUsage, "", "unknown flag: --sheduler (is --scheduler meant?)"},
		{"flag with one hyphen", []string{"plan", "-config", "x"}, exitUsage, "", "(is --config meant?)"},
		{"help of a command", []string{"run", "--help"}, exitOK, "--cluster-ip-servers", ""},
		{"unknown flag", []string{"run", "--manifest", "x"}, exitUsage, "", "unknown flag: --manifest (is --manifests meant?)"},
		{"a flag first", []string{"--audit-period=x"}, exitUsage, "", "kube-ipvs run: --audit-period: \"x\" is not a duration"},
		{"--version", []string{"--version"}, exitOK, "kube-ipvs devel", ""},
		{"--version with an argument", []string{"--version", "x"}, exitUsage, "", `"x" is not a flag`},
		{"--version before flags", []string{"--version", "--v=2"}, exitOK, "kube-ipvs devel", ""},
		{"--version as JSON", []string{"--version", "-o", "json"}, exitOK, `"version": "devel"`, ""},
		{"--version among flags", []string{"--v=2", "--version"}, exitOK, "kube-ipvs devel", ""},
		{"--help", []string{"--help"}, exitOK, "Usage: kube-ipvs COMMAND", ""},
		{"no flag", []string{"plan", "--manifests", "x", "y"}, exitUsage, "", `"y" is not a flag`},
		{"bad output", []string{"state", "-o", "yaml"}, exitUsage, "", `--output: "yaml" is neither text nor json`},
		{"explain nothing", []string{"explain"}, exitUsage, "", "name a Service"},
		{"explain two", []string{"explain", "default/a", "default/b"}, exitUsage, "", `"default/b" is too much`},
		{"explain in XML", []string{"explain", "default/a", "-o", "xml"}, exitUsage, "", `"xml" is neither text nor json`},
		{"explain nonsense", []string{"explain", "web"}, exitUsage, "", `"web" is none of NAMESPACE/NAME`},
		{"explain from nowhere", []string{"explain", "default/web", "--from", "me"}, exitUsage, "", `--from: "me" is not the address`},
		{"top of none", []string{"top", "-n", "-1"}, exitUsage, "", "--rows: -1 is negative"},
		{"top at once", []string{"top", "--interval", "0s"}, exitUsage, "", "--interval: 0s is shorter than 2s"},
		{"top by colour", []string{"top", "--sort", "colour"}, exitUsage, "", `"colour" is none of active, bytes, new, packets, total`},
		{"top in XML", []string{"top", "-o", "xml"}, exitUsage, "", `"xml" is neither`},
		{"top of a port", []string{"top", "default/web:http"}, exitUsage, "", `"default/web:http" is not one Service`},
		{"cleanup with an argument", []string{"cleanup", "all"}, exitUsage, "", `"all" is not a flag`},
		{"cleanup with a bad backend", []string{"cleanup", "--iptables-backend", "ebt"}, exitUsage, "", `--iptables-backend: "ebt" is none of nft, legacy`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errw bytes.Buffer
			if code := dispatch(tt.args, &out, &errw); code != tt.code {
				t.Errorf("exit code %d, want %d; it said %s", code, tt.code, errw.String())
			}
			if !strings.Contains(out.String(), tt.out) || !strings.Contains(errw.String(), tt.err) {
				t.Errorf("printed %q and %q", out.String(), errw.String())
			}
		})
	}
}

// All that is wrong with the flags is told at once, each with the flag's name.
func TestBadFlagsAreAllNamed(t *testing.T) {
	var out, errw bytes.Buffer
	code := dispatch([]string{"run", "--manifests", "x", "--cluster-ip-servers", "both", "--iptables-masquerade-bit", "32",
		"--audit-period", "1ms", "--ipvs-tcp-timeout", "-1ms", "--drain-timeout", "-1s", "--cluster-cidr", "10.0.0.0/8,11.0.0.0/8", "--nodeport-addresses", "eth0",
		"--image-prefix", "240.0.0.0", "--image-prefix-local6", "4000::/4", "--iptables-backend", "x", "--node-ip", "me", "--log-format", "xml"}, &out, &errw)
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, flag := range []string{"cluster-ip-servers", "iptables-masquerade-bit", "audit-period", "drain-timeout", "ipvs-tcp-timeout", "cluster-cidr",
		"nodeport-addresses", "image-prefix", "image-prefix6", "iptables-backend", "node-ip", "log-format"} {
		if !strings.Contains(errw.String(), "--"+flag+":") {
			t.Errorf("--%s is not named in:\n%s", flag, errw.String())
		}
	}
}

func TestImagePrefixMustNotHoldPodsOrNodes(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--cluster-cidr", "244.0.0.0/16", "--cluster-cidr: 244.0.0.0/16 lies in the image prefix 240.0.0.0/5 (--image-prefix)"},
		{"--cluster-cidr", "10.0.0.0/8,6000::/64", "--cluster-cidr: 6000::/64 lies in the image prefix 6000::/3 (--image-prefix-local6)"},
		{"--node-ip", "252.0.0.2", "--node-ip: 252.0.0.2 lies in the image prefix 252.0.0.0/30 (--image-prefix-nodeport)"},
	} {
		var out, errw bytes.Buffer
		code := dispatch([]string{"run", "--manifests", "x", tt.flag, tt.value}, &out, &errw)
		if code != exitUsage || !strings.Contains(errw.String(), tt.want) {
			t.Errorf("exit code %d, it said %q, want %q", code, errw.String(), tt.want)
		}
	}
}

// programmed is a node with a Service of policy Local without local endpoints,
// another that drains, and a virtual server that a cut start left.
func programmed() (*state.State, map[state.ID]status.Connections) {
	s := &state.State{}
	spec := func(text string) state.SpecRef { return state.Intern(state.Spec{Text: text}) }
	server := func(addr string, sp state.Spec, reals map[string]uint32) state.ID {
		id := state.VirtualServerID(state.TCP, netip.MustParseAddrPort(addr))
		s.Put(id, state.Intern(sp))
		for r, w := range reals {
			s.Put(state.RealServerID(id, netip.MustParseAddrPort(r)), state.Weight(w))
		}
		return id
	}
	rr := state.Spec{Scheduler: "rr", Flags: state.FlagOurs}
	web := server("10.96.0.10:80", state.Spec{Scheduler: "mh", Flags: state.FlagOurs | state.FlagPersistent, Timeout: 60},
		map[string]uint32{"10.244.0.1:8080": 1, "10.244.0.2:8080": 0})
	server("240.168.50.200:80", rr, map[string]uint32{"10.244.0.3:8080": 1})
	server("248.168.50.200:80", rr, nil)
	server("252.0.0.1:30080", rr, map[string]uint32{"10.244.0.3:8080": 1})
	server("10.96.0.99:80", rr, nil)
	cluster, lb := netip.MustParseAddrPort("10.96.0.10:80"), netip.MustParseAddrPort("192.168.50.200:80")
	s.Put(state.EntryID(state.SetAll, state.TCP, cluster), spec("default/web:http"))
	s.Put(state.EntryID(state.SetCluster, state.TCP, cluster), state.None)
	s.Put(state.EntryID(state.SetAll, state.TCP, lb), spec("default/api"))
	s.Put(state.EntryID(state.SetExternalLocal, state.TCP, lb), state.None)
	s.Put(state.EntryID(state.SetNoLocal, state.TCP, lb), state.None)
	for _, half := range state.Halves(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		s.Put(state.NetEntryID(state.SetNodePort, state.TCP, half, 30080), spec("default/api"))
	}
	s.Put(state.VIPID(cluster.Addr()), state.None)
	return s, map[state.ID]status.Connections{state.RealServerID(web, netip.MustParseAddrPort("10.244.0.2:8080")): {Active: 1, Inactive: 2}}
}

func TestStateText(t *testing.T) {
	s, conns := programmed()
	var out bytes.Buffer
	printState(&out, status.Arrange(desired.Config{Images: desired.DefaultImages, IPv6: true}, s, conns))
	want := `default/api
  external  192.168.50.200:80/tcp
    dropped from outside: external policy Local, no endpoint on this node
    virtual server  240.168.50.200:80/tcp  rr, traffic from pods and the node
      endpoint      10.244.0.3:8080        weight 1, 0 connections
    virtual server  248.168.50.200:80/tcp  rr, traffic from outside, policy Local
  node port         *:30080/tcp (IPv4)
    virtual server  252.0.0.1:30080/tcp  rr
      endpoint      10.244.0.3:8080      weight 1, 0 connections
default/web:http
  ClusterIP         10.96.0.10:80/tcp
    virtual server  10.96.0.10:80/tcp  mh, affinity 60s
      endpoint      10.244.0.1:8080    weight 1, 0 connections
      endpoint      10.244.0.2:8080    weight 0, 3 connections, no new ones
virtual servers of kube-ipvs without a frontend
    virtual server  10.96.0.99:80/tcp  rr
5 virtual servers, 4 real servers, 1 VIPs, 7 set entries
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStateJSON(t *testing.T) {
	s, conns := programmed()
	b, err := json.Marshal(status.Arrange(desired.Config{Images: desired.DefaultImages, IPv6: true}, s, conns))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"service":"default/web:http"`, `"kind":"node port","address":"*:30080 (IPv4)"`, `"weight":0,"standing":"no_new","connections":3,"active":1,"inactive":2`,
		`"affinitySeconds":60`, `"vips":["10.96.0.10"]`, `"unpublished":[{"address":"10.96.0.99:80"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
}
