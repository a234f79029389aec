package main

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// statement says how files were made: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// with the predicate of https://slsa.dev/spec/v1.0/provenance.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	Build buildDefinition `json:"buildDefinition"`
	Run   runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	Type         string            `json:"buildType"`
	External     map[string]string `json:"externalParameters"`
	Dependencies []resource        `json:"resolvedDependencies"`
}

type runDetails struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
}

// writeProvenance writes the statement on all files of a folder. What they were made of is
// the commit, the compiler, and all that their SBOMs name. No time and no run is in it, so
// that a second build has the same.
func (r release) writeProvenance(out io.Writer, folder string) error {
	if r.revision == "" || r.compiler == "" || r.builder == "" {
		return errors.New("REVISION, GO_VERSION and BUILDER are to be set")
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	uris := map[string]bool{"pkg:golang/toolchain@" + strings.TrimPrefix(r.compiler, "go"): true}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return err
		}
		s.Subject = append(s.Subject, resource{Name: f.Name(), Digest: map[string]string{"sha256": digestOf(text)}})
		if strings.HasSuffix(f.Name(), ".spdx.json") {
			if err := collectPackages(text, uris); err != nil {
				return err
			}
		}
	}
	commit := resource{Name: "source", Digest: map[string]string{"gitCommit": r.revision}}
	parameters := map[string]string{"version": string(r.version)}
	if r.source != "" {
		commit.URI, parameters["source"] = "git+"+r.source, r.source
	}
	if r.image != "" {
		parameters["image"] = r.image
	}
	s.Predicate.Build = buildDefinition{Type: "https://kube-ipvs.invalid/make-release/v1", External: parameters, Dependencies: []resource{commit}}
	for _, uri := range slices.Sorted(maps.Keys(uris)) {
		s.Predicate.Build.Dependencies = append(s.Predicate.Build.Dependencies, resource{URI: uri})
	}
	s.Predicate.Run.Builder.ID = r.builder
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(s)
}

// collectPackages adds the package URLs of an SPDX document.
func collectPackages(spdx []byte, to map[string]bool) error {
	var document struct {
		Packages []struct {
			ExternalRefs []struct{ ReferenceType, ReferenceLocator string }
		}
	}
	if err := json.Unmarshal(spdx, &document); err != nil {
		return err
	}
	for _, p := range document.Packages {
		for _, ref := range p.ExternalRefs {
			if ref.ReferenceType == "purl" {
				to[ref.ReferenceLocator] = true
			}
		}
	}
	return nil
}
