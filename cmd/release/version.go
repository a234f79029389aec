package main

import (
	"fmt"
	"regexp"
	"strings"
)

// version is a semantic version with a leading v: https://semver.org.
type version string

// versionPattern has no build metadata: a tag of an image cannot have its plus sign.
var versionPattern = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)` +
	`(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?$`)

func parseVersion(text string) (version, error) {
	if !versionPattern.MatchString(text) {
		return "", fmt.Errorf("%q is no version of a release: it is to be like v1.2.3 or v1.2.3-rc.1", text)
	}
	return version(text), nil
}

// number is the version as charts have it.
func (v version) number() string { return strings.TrimPrefix(string(v), "v") }

// prerelease returns what stands behind the hyphen, or nothing.
func (v version) prerelease() string {
	_, pre, _ := strings.Cut(string(v), "-")
	return pre
}

// snapshot reports whether the version is of a state between releases, of which the
// changelog says nothing: v1.2.3-dev, v1.2.3-snapshot.4.
func (v version) snapshot() bool {
	first, _, _ := strings.Cut(v.prerelease(), ".")
	return first == "dev" || first == "snapshot"
}
