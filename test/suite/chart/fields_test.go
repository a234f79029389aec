package chart

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// owned are fields that the chart sets by other values, or that make no sense
// for all nodes at once.
var owned = map[string][]string{
	"kubeProxyConfiguration": {"hostnameOverride", "clientConnection.kubeconfig", "healthzBindAddress", "metricsBindAddress", "mode"},
	"kubeIPVSConfiguration":  {"apiServers", "takeover", "manifests", "zone", "nodeIPs"},
}

// accepted are fields of a KubeProxyConfiguration without an effect, which are
// taken so that a file can be put in as it is.
var accepted = []string{"portRange", "showHiddenMetricsForVersion", "nftables", "winkernel", "windowsRunAsService",
	"iptables.syncPeriod", "iptables.minSyncPeriod", "logging.flushFrequency", "logging.vmodule", "logging.options"}

// Values set each setting of the program, and no others: a new field must be added to
// the chart, too.
func TestAllFieldsAreValues(t *testing.T) {
	root := readSchema(t)
	for name, doc := range effective(t) {
		want := map[string]any{}
		flatten("", doc, want)
		for _, path := range append(owned[name], "kind", "apiVersion") {
			if _, ok := want[path]; !ok {
				t.Errorf("%s has no field %s any more", name, path)
			}
			delete(want, path)
		}
		offered := map[string]any{}
		offers("", root.Properties[name], offered)
		for _, path := range append(owned[name], "kind", "apiVersion") {
			delete(offered, path)
		}
		for _, path := range accepted {
			if _, ok := offered[path]; !ok && name == "kubeProxyConfiguration" {
				t.Errorf("%s is not taken", path)
			}
			delete(offered, path)
		}
		for path := range want {
			if _, ok := offered[path]; !ok {
				t.Errorf("%s.%s cannot be set by values", name, path)
			}
			delete(offered, path)
		}
		for path := range offered {
			t.Errorf("%s.%s is no field that has an effect", name, path)
		}
	}
}

// Without changed values the program has its own defaults, except those for which
// values.yaml gives a reason.
func TestDefaultsAreTheProgram(t *testing.T) {
	rendered, err := template(t, "--values", "testdata/values/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(find(t, rendered, "ConfigMap").Data["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	got, want := effective(t, "--config", file), effective(t)
	want["kubeProxyConfiguration"]["oomScoreAdj"] = float64(-997) // the kubelet's value
	want["kubeIPVSConfiguration"]["apiServers"] = []any{"10.0.0.1:6443"}
	for name := range want {
		g, w := map[string]any{}, map[string]any{}
		flatten("", got[name], g)
		flatten("", want[name], w)
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("%s differs from the program's defaults (-want +got):\n%s", name, diff)
		}
	}
}

// effective returns the documents of "config print" by the names that they have
// as values.
func effective(t *testing.T, flags ...string) map[string]map[string]any {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, append([]string{"config", "print", "-o", "json", "--hostname-override", "node"}, flags...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]map[string]any{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var doc map[string]any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			t.Fatal(err)
		}
		kind := doc["kind"].(string)
		docs[strings.ToLower(kind[:1])+kind[1:]] = doc
	}
}

// flatten lists the fields of a document by path. An empty field is nil.
func flatten(prefix string, doc map[string]any, to map[string]any) {
	for name, v := range doc {
		switch m := v.(type) {
		case map[string]any:
			if len(m) > 0 {
				flatten(prefix+name+".", m, to)
				continue
			}
			v = nil
		case []any:
			if len(m) == 0 {
				v = nil
			}
		}
		to[prefix+name] = v
	}
}

// offers lists the values of a part of the schema by path.
func offers(prefix string, s *schema, to map[string]any) {
	for name, p := range s.Properties {
		if len(p.Properties) > 0 {
			offers(prefix+name+".", p, to)
			continue
		}
		to[prefix+name] = nil
	}
}
