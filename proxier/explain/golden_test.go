package explain

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/test/lib/world"
)

var update = flag.Bool("update", false, "rewrite what the texts are")

// TestTexts compares the texts of testdata with what is said now. A file has
// its objects, what is broken then, and for each "explain" the text:
//
//	mode direct      with virtual servers on ClusterIPs themselves; first part only
//	objects          Services and EndpointSlices; the node is n1 in zone za
//	remove OBJECT    another program deletes it
//	rule TEXT        another program deletes the IPv4 rule
//	explain ARGS     the query, and perhaps --from IP
func TestTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no texts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := config(desired.Image)
	var n *Node
	for i := range archive.Files {
		part := &archive.Files[i]
		verb, arg, _ := strings.Cut(part.Name, " ")
		switch verb {
		case "mode":
			c.Mode = desired.Mode(arg)
		case "objects":
			m := model.New(model.Node{Name: world.Node, Zone: "za"})
			load(t, m, string(part.Data))
			n = newNode(c, m)
		case "remove":
			n.remove(t, arg)
		case "rule":
			before := n.Rules[0]
			if n.Rules[0] = strings.Replace(before, "-A "+arg+"\n", "", 1); n.Rules[0] == before {
				t.Fatalf("no rule %s in\n%s", arg, before)
			}
		case "explain":
			got := say(t, n, arg)
			if diff := cmp.Diff(string(part.Data), got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", part.Name, diff)
			}
			part.Data = []byte(got)
		default:
			t.Fatalf("no such part: %s", part.Name)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// say explains as the command does; an error is its text.
func say(t *testing.T, n *Node, args string) string {
	n.compare(t)
	text, from, _ := strings.Cut(args, " --from ")
	var client netip.Addr
	if from != "" {
		client = netip.MustParseAddr(from)
	}
	q, err := ParseQuery(text)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	all, err := n.Explain(q, client)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var out strings.Builder
	for _, e := range all {
		e.Print(&out)
	}
	return out.String()
}
