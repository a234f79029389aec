package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Specs end with their cluster, and say what its kernel said last.
func TestSpecsEndWithTheCluster(t *testing.T) {
	dir := t.TempDir()
	cluster := exec.Command("sh", "-c", "read line", "--dir", dir, "serve", "")
	in, err := cluster.StdinPipe()
	if err == nil {
		err = cluster.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{pidFile(dir): fmt.Sprintln(cluster.Process.Pid), filepath.Join(dir, "log", "kernel.log"): "Kernel panic - not syncing\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := whileUp(t.Context(), dir)
	defer stop()
	if ctx.Err() != nil {
		t.Fatal(context.Cause(ctx))
	}
	_ = in.Close()
	_ = cluster.Wait()
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the cluster has ended, and specs go on")
	}
	if why := context.Cause(ctx).Error(); !strings.Contains(why, "ended by itself") || !strings.Contains(why, "Kernel panic") {
		t.Error(why)
	}
}
