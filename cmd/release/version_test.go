package main

import (
	"testing"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]bool{
		"v0.1.0": true, "v10.20.30": true, "v1.2.3-rc.1": true, "v0.0.0-dev": true, "v1.0.0-0a": true,
		"0.1.0": false, "v1.2": false, "v01.2.3": false, "v1.2.3-": false, "v1.2.3-01": false, "v1.2.3+b": false, "984ae9e": false, "v1.2.3\n": false, "": false,
	} {
		if v, err := parseVersion(text); (err == nil) != want {
			t.Errorf("%q is %q, %v", text, v, err)
		}
	}
	for v, want := range map[version]bool{"v1.2.3": false, "v1.2.3-rc.1": false, "v1.2.3-dev": true, "v1.2.3-snapshot.4": true, "v1.2.3-device": false} {
		if v.snapshot() != want {
			t.Errorf("%s is a snapshot: %v", v, !want)
		}
	}
}
