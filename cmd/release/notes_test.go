package main

import (
	"strings"
	"testing"
)

const changelog = `# Changelog

## [Unreleased]

### Added

- not yet

## [v1.2.0] - 2026-11-30

### Fixed

- a fault, see [1]

## [v1.1.0] - 2026-10-30

## [v1.0.0] - 2026-09-30

- the first

[1]: https://example.com/1
`

func TestNotes(t *testing.T) {
	for v, want := range map[version]string{
		"v1.2.0": "### Fixed\n\n- a fault, see [1]\n", "v1.0.0": "- the first\n", "v1.3.0-dev": "A snapshot, for tests.\n\n### Added\n\n- not yet\n",
	} {
		var out strings.Builder
		if err := writeNotes(&out, strings.NewReader(changelog), v); err != nil || out.String() != want {
			t.Errorf("%s: %v, %q", v, err, out.String())
		}
	}
	for v, want := range map[version]string{"v1.1.0": "says nothing of v1.1.0", "v1.2.0-rc.1": `no section "## [v1.2.0-rc.1]`, "v2.0.0": `no section "## [v2.0.0]`} {
		var out strings.Builder
		if err := writeNotes(&out, strings.NewReader(changelog), v); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("%s: %v, %q", v, err, out.String())
		}
	}
}
