// Command sbom prints the contents of an image, as SPDX 2.3 in JSON: the
// program, the Go modules that it was built from, as the binary itself records
// them, and the Debian packages whose files lie beside it.
//
//	sbom ROOT VERSION >FILE
//
// ROOT is the folder that cmd/image/rootfs has made, VERSION that of the program. The same ROOT gives the same text,
// but for the time, which is SOURCE_DATE_EPOCH where that is set.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// document is an SPDX document. https://spdx.github.io/spdx-spec/v2.3/
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []pkg          `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Version   string     `json:"versionInfo"`
	Supplier  string     `json:"supplier,omitempty"`
	Download  string     `json:"downloadLocation"`
	Analyzed  bool       `json:"filesAnalyzed"`
	Homepage  string     `json:"homepage,omitempty"`
	Concluded string     `json:"licenseConcluded"`
	Declared  string     `json:"licenseDeclared"`
	Copyright string     `json:"copyrightText"`
	Checksums []checksum `json:"checksums,omitempty"`
	Refs      []ref      `json:"externalRefs,omitempty"`
	Purpose   string     `json:"primaryPackagePurpose,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type ref struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	unknown = "NOASSERTION"
	program = "SPDXRef-kube-ipvs"
	self    = "SPDXRef-DOCUMENT"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom ROOT VERSION >FILE")
		os.Exit(64)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(out io.Writer, root, version string) error {
	created, err := now()
	if err != nil {
		return err
	}
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: self, Name: "kube-ipvs",
		Creation: creation{created.UTC().Format(time.RFC3339), []string{"Tool: kube-ipvs-sbom"}},
	}
	if err := d.addProgram(filepath.Join(root, "kube-ipvs"), version); err != nil {
		return err
	}
	if err := d.addDebian(filepath.Join(root, "var/lib/dpkg/status.d")); err != nil {
		return err
	}
	parts, err := json.Marshal(d.Packages)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(parts)
	d.Namespace = "https://kube-ipvs.invalid/spdx/" + hex.EncodeToString(sum[:])
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(d)
}

// now is when the image was built: https://reproducible-builds.org/specs/source-date-epoch/
func now() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(n, 0), nil
}

func (d *document) add(p pkg, from, relation string) {
	p.Download, p.Concluded, p.Copyright = unknown, unknown, unknown
	if p.Declared == "" {
		p.Declared = unknown
	}
	d.Packages = append(d.Packages, p)
	d.Relationships = append(d.Relationships, relationship{from, relation, p.ID})
}

// addProgram adds the binary and its modules.
func (d *document) addProgram(binary, version string) error {
	built, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	d.add(pkg{
		ID: program, Name: built.Path, Version: version, Declared: "Apache-2.0", Purpose: "APPLICATION",
		Checksums: []checksum{{"SHA256", hex.EncodeToString(sum[:])}},
	}, self, "DESCRIBES")
	goroot := strings.TrimPrefix(built.GoVersion, "go")
	d.add(pkg{ID: "SPDXRef-go-stdlib", Name: "stdlib", Version: goroot, Declared: "BSD-3-Clause", Refs: purl("golang/stdlib@" + goroot)}, program, "DEPENDS_ON")
	for _, m := range built.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d.add(pkg{ID: id("go", m.Path), Name: m.Path, Version: m.Version, Refs: purl("golang/" + m.Path + "@" + m.Version)}, program, "DEPENDS_ON")
	}
	return nil
}

// addDebian adds the packages whose control data lies in a folder.
func (d *document) addDebian(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		c := control(string(text))
		if c["Package"] == "" || c["Version"] == "" {
			return fmt.Errorf("%s has no package and version", f.Name())
		}
		d.add(pkg{
			ID: id("deb", c["Package"]), Name: c["Package"], Version: c["Version"], Homepage: c["Homepage"],
			Supplier: "Organization: Debian", Refs: purl("deb/debian/" + escape(c["Package"]) + "@" + escape(c["Version"]) + "?arch=" + c["Architecture"]),
		}, program, "DEPENDS_ON")
	}
	return nil
}

// control reads the fields of one line each: deb-control(5).
func control(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		if ok && !strings.HasPrefix(line, " ") {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// id makes an identifier of letters, digits, dots and dashes.
func id(kind, name string) string {
	return "SPDXRef-" + kind + "-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, name)
}

// purl is a package URL: https://github.com/package-url/purl-spec
func purl(rest string) []ref { return []ref{{"PACKAGE-MANAGER", "purl", "pkg:" + rest}} }

// escape writes characters of a Debian name or version that have a meaning in a URL.
func escape(text string) string {
	return strings.NewReplacer("+", "%2B", ":", "%3A").Replace(text)
}
