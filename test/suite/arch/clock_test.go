package arch

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wallClock names the functions that make a time without a monotonic reading. An age
// that is worked out from it jumps with the node's clock.
var wallClock = map[string]bool{
	"time.Unix": true, "time.UnixMilli": true, "time.UnixMicro": true, "time.Date": true, "time.Parse": true, "time.ParseInLocation": true,
	"(time.Time).Unix": true, "(time.Time).UnixMilli": true, "(time.Time).UnixMicro": true, "(time.Time).UnixNano": true,
	"(time.Time).UTC": true, "(time.Time).In": true, "(time.Time).Local": true, "(time.Time).Round": true, "(time.Time).Truncate": true,
	"(time.Time).AddDate": true, "(time.Time).GobEncode": true, "(time.Time).MarshalBinary": true,
	"(io/fs.FileInfo).ModTime": true,
}

// onPurpose says for each function that has to do with such times why no age is
// wrong for it.
var onPurpose = map[string]string{
	"cmd/image/sbom.now":               "when the image is built",
	"cmd/image/sbom.write":             "printed",
	"cmd/release.epoch":                "when the release is made",
	"cmd/kube-ipvs.newTopTable":        "printed",
	"proxier/metrics.seconds":          "Unix time is what the metric has",
	"proxier/health.(Pages).statusz":   "printed",
	"proxier/status.clock":             "printed",
	"proxier/status.machine":           "printed",
	"proxier/desired.(*batch).update":  "which Service is older, by the API server's clock",
	"proxier/model.readService":        "which Service is older, by the API server's clock",
	"proxier/source.stampOf":           "tells versions of a file apart",
	"proxier/cluster.(*triggers).note": "of other machines: no latency is below 0, or above the age of this process",
	"netutil.WatchRules":               "long ago, to end a read",
	"netutil.watch":                    "long ago, to end a read",
}

// Ages and periods go by the monotonic clock, which cannot be set: on a node
// whose clock jumps by hours, no audit becomes old and no drain ends.
func TestAgesAreMonotonic(t *testing.T) {
	onlyIn(t, wallClock, onPurpose, []string{"cmd", "proxier", "netutil", "ipset"}, "an age must not come of it")
}

// onlyIn allows the use of some functions below tops to those functions alone that reasons names.
func onlyIn(t *testing.T, functions map[string]bool, reasons map[string]string, tops []string, wrong string) {
	t.Helper()
	seen := map[string]bool{}
	for _, top := range tops {
		for _, p := range packagesBelow(t, top) {
			for _, use := range usesOf(t, p, functions) {
				if reasons[use.function] == "" {
					t.Errorf("%s: %s uses %s: %s", use.at, use.function, use.what, wrong)
				}
				seen[use.function] = true
			}
		}
	}
	for function := range reasons { // or the list grows old
		if !seen[function] {
			t.Errorf("%s has a reason to use such a function, and uses none", function)
		}
	}
}

type listed struct {
	path, dir string
	files     []string
}

func packagesBelow(t *testing.T, top string) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{.Dir}} {{join .GoFiles " "}}`, "kube-ipvs/"+top+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		all = append(all, listed{words[0], words[1], words[2:]})
	}
	return all
}

type use struct{ at, function, what string }

// usesOf returns where the functions of a package refer to any of functions.
func usesOf(t *testing.T, p listed, functions map[string]bool) (uses []use) {
	t.Helper()
	checked := typesOf(t, p)
	for _, f := range checked.files {
		for _, d := range f.Decls {
			name := strings.TrimPrefix(p.path, "kube-ipvs/") + "." + nameOf(d)
			ast.Inspect(d, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					if fn, ok := checked.uses[id].(*types.Func); ok && functions[fn.FullName()] {
						uses = append(uses, use{checked.set.Position(id.Pos()).String(), name, fn.FullName()})
					}
				}
				return true
			})
		}
	}
	return uses
}

// checked is a package whose types are known.
type checked struct {
	set   *token.FileSet
	files []*ast.File
	uses  map[*ast.Ident]types.Object
	of    *types.Package
}

func typesOf(t *testing.T, p listed) *checked {
	t.Helper()
	c := &checked{set: token.NewFileSet(), uses: map[*ast.Ident]types.Object{}}
	for _, name := range p.files {
		f, err := parser.ParseFile(c.set, filepath.Join(p.dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(c.set, "gc", exported(t))}
	var err error
	if c.of, err = config.Check(p.path, c.set, c.files, &types.Info{Uses: c.uses}); err != nil {
		t.Fatal(err)
	}
	return c
}

// nameOf returns the name of a function with its receiver; empty for other declarations.
func nameOf(d ast.Decl) string {
	f, ok := d.(*ast.FuncDecl)
	if !ok {
		return ""
	}
	if f.Recv == nil {
		return f.Name.Name
	}
	return fmt.Sprintf("(%s).%s", types.ExprString(f.Recv.List[0].Type), f.Name.Name)
}

var exports map[string]string

// exported finds the compiler's data of packages.
func exported(t *testing.T) importer.Lookup {
	t.Helper()
	if exports == nil {
		out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "kube-ipvs/cmd/...", "kube-ipvs/proxier/...", "kube-ipvs/netutil/...", "kube-ipvs/ipset/...").Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		exports = map[string]string{}
		for line := range strings.Lines(string(out)) {
			if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				exports[path] = file
			}
		}
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
}
