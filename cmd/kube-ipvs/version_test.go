package main

import (
	"bytes"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionJSON(t *testing.T) {
	var out, errw bytes.Buffer
	if code := dispatch([]string{"version", "-o", "json"}, &out, &errw); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errw.String())
	}
	var got build
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Version != "devel" || got.GoVersion != runtime.Version() || got.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%s: %v", out.String(), err)
	}
}

func TestBuild(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "d8897e1"}, {Key: "vcs.time", Value: "2026-11-30T12:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if got, want := newBuild(info), (build{"devel", "d8897e1", "2026-11-30T12:00:00Z", true, "go1.26.0", platform}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := newBuild(nil), (build{Version: "devel", GoVersion: runtime.Version(), Platform: platform}); got != want {
		t.Errorf("without facts %+v, want %+v", got, want)
	}
}
