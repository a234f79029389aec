package config

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What is printed means the same when it is read again.
func TestPrintedIsTheSame(t *testing.T) {
	dir := t.TempDir()
	paths := slices.Sorted(maps.Keys(samples))
	rapid.Check(t, func(rt *rapid.T) {
		docs := map[bool]map[string]any{true: {}, false: {}} // by: of kube-proxy
		var args []string
		for _, path := range paths {
			s := samples[path]
			switch rapid.IntRange(0, 3).Draw(rt, path) {
			case 0:
				put(docs[!isOwn(path)], path, s.yaml)
			case 1:
				if path != "clientConnection.acceptContentTypes" {
					args = append(args, flagOf(path)+"="+s.flag)
				}
			}
		}
		file := ownHead + flow(docs[false]) + "---\n" + proxyHead + flow(docs[true])
		strange := rapid.String().Draw(rt, "manifests")
		args = append(args, "--manifests=x"+strange, "--kubeconfig="+strange)
		c, err := load(t, file, args...)
		if err != nil {
			rt.Fatal(err)
		}
		for _, write := range []func(*bytes.Buffer) error{
			func(b *bytes.Buffer) error { return c.WriteYAML(b) },
			func(b *bytes.Buffer) error { return c.WriteJSON(b) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				rt.Fatal(err)
			}
			path := filepath.Join(dir, "printed")
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				rt.Fatal(err)
			}
			f := Flags{File: path}
			again, err := f.Load()
			if err != nil {
				rt.Fatalf("%v in\n%s", err, b.String())
			}
			if diff := cmp.Diff(c, again, values); diff != "" {
				rt.Fatalf("(-first +again):\n%s\n%s", diff, b.String())
			}
		}
	})
}

// put notes a value, as YAML, in a tree of fields.
func put(doc map[string]any, path, yaml string) {
	names := strings.Split(path, ".")
	for _, n := range names[:len(names)-1] {
		if doc[n] == nil {
			doc[n] = map[string]any{}
		}
		doc = doc[n].(map[string]any)
	}
	doc[names[len(names)-1]] = yaml
}

// flow returns the tree as YAML.
func flow(doc map[string]any) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		b.WriteString(name + ": " + inline(doc[name]) + "\n")
	}
	return b.String()
}

func inline(v any) string {
	group, ok := v.(map[string]any)
	if !ok {
		return strings.ReplaceAll(v.(string), "10.244.0.0/16,fd44::/64", "'10.244.0.0/16,fd44::/64'")
	}
	var items []string
	for _, name := range slices.Sorted(maps.Keys(group)) {
		items = append(items, name+": "+inline(group[name]))
	}
	return "{" + strings.Join(items, ", ") + "}"
}

func TestPrint(t *testing.T) {
	c := mustLoad(t, proxyHead+"clusterCIDR: 10.244.0.0/16\niptables: {syncPeriod: 1m}", "--scheduler=wrr", "--zone=no")
	var b strings.Builder
	if err := c.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"clusterCIDR: 10.244.0.0/16 # file " + c.File + "\n", "  scheduler: wrr # flag --scheduler\n", "zone: \"no\" # flag --zone\n",
		"trafficMetrics: \"off\" # default\n", "  tcpEstablishedTimeout: 24h0m0s # default\n", "\n---\napiVersion: kube-ipvs/v1alpha1\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "portRange") || strings.Contains(b.String(), "1m0s # file") {
		t.Errorf("it prints what has no effect:\n%s", b.String())
	}
}
