package netutil

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hangingTool puts a tool on an otherwise empty PATH, and makes deadlines short. It
// writes its process group to the file that is returned.
func hangingTool(t *testing.T, name, script string) (group string) {
	t.Helper()
	dir, path := t.TempDir(), os.Getenv("PATH")
	group = filepath.Join(dir, "group")
	text := "#!/bin/sh\nPATH=" + path + "\necho $$ >" + group + "\n" + script + "\n"
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	t.Setenv("PATH", dir)
	tool, pipe := toolDeadline, pipeDeadline
	toolDeadline, pipeDeadline = 500*time.Millisecond, 100*time.Millisecond
	t.Cleanup(func() { toolDeadline, pipeDeadline = tool, pipe })
	return group
}

// gone waits until no process of a group is left.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	group, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if unix.Kill(-group, 0) == unix.ESRCH {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes of group %d go on", group)
		}
	}
}

// What hangs is killed with all that it has started, and the error tells which tool
// it was.
func TestToolsHaveADeadline(t *testing.T) {
	restore := func(ctx context.Context) error { return NFT.Restore(ctx, IPv4, "*nat\nCOMMIT\n") }
	detect := func(ctx context.Context) error { _, err := DetectBackend(ctx, "KIPVS-"); return err }
	for _, tt := range []struct {
		name, tool, script string
		do                 func(context.Context) error
		want               string
	}{
		{"sleeps", "iptables-nft-restore", "sleep 1000", restore, "iptables-nft-restore did not end within 500ms"},
		{"ignores signals", "iptables-nft-restore", "trap '' TERM INT HUP; while :; do sleep 1; done", restore, "did not end within 500ms"},
		{"reads no input", "iptables-nft-restore", "exec sleep 1000", restore, "did not end within 500ms"},
		{"leaves a child", "iptables-nft-restore", "sleep 1000 & exit 0", restore, "a process that iptables-nft-restore started keeps its output open"},
		{"does not say its version", "iptables-restore", "sleep 1000", detect, "iptables-restore did not end within 500ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			group := hangingTool(t, tt.tool, tt.script)
			if err := tt.do(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			gone(t, group)
		})
	}
}

// Where the nft tool hangs, chains of ours are not taken for those that are wanted, and
// not for missing: the write that follows tells what is wrong. A legacy one is an error.
func TestReadBesideAToolThatHangs(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		want := ours(t, b, family)
		tool := map[Family]string{IPv4: "iptables", IPv6: "ip6tables"}[family] + "-" + string(b) + map[Backend]string{NFT: "-restore", Legacy: "-save"}[b]
		group := hangingTool(t, tool, "sleep 1000")
		have, err := b.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS-"})
		gone(t, group)
		if b == Legacy {
			if err == nil || !strings.Contains(err.Error(), tool+" did not end within 500ms") {
				t.Error(err)
			}
			return
		}
		jumps := 0
		for _, c := range have.get("nat").builtin {
			jumps += len(c.rules)
		}
		if err != nil || len(have.Unreadable()) != 4 || jumps != 3 {
			t.Errorf("read %q, %v", have, err)
		}
		if len(Missing(have, want)) == 0 {
			t.Error("taken for what is wanted")
		}
	})
}

func TestToolsEndWithTheirContext(t *testing.T) {
	group := hangingTool(t, "iptables-nft-restore", "sleep 1000")
	toolDeadline = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // once it runs
		for {
			if p, err := os.ReadFile(group); err == nil && len(p) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := NFT.Restore(ctx, IPv4, "*nat\nCOMMIT\n"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gone(t, group)
}

// A tool of a family or variant that is not needed may hang.
func TestDetectBackendAsksNoIPv6Tool(t *testing.T) {
	inNetns(t, func() {
		true4, err := exec.LookPath("true")
		must(t, err)
		group := hangingTool(t, "ip6tables-nft-restore", "sleep 1000")
		dir := filepath.Dir(group)
		must(t, os.Symlink(true4, filepath.Join(dir, "iptables-nft-restore")))
		if b, err := DetectBackend(t.Context(), "KIPVS-"); b != NFT || err != nil {
			lacks(t, "nftables: %q, %v", b, err)
		}
		if _, err := os.Stat(group); err == nil {
			t.Error("ip6tables was started")
		}
	})
}

// A host may have one iptables, under its plain name, or a wrapper there that starts one.
func TestPlainName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	file := filepath.Join(dir, "iptables-restore")
	for _, tt := range []struct {
		does string
		of   Backend
		said string
	}{
		{"echo 'iptables-restore v1.8.7 (nf_tables)'", NFT, ""},
		{"echo choosing >&2; exec /bin/echo 'iptables v1.8.4 (legacy)'", Legacy, ""},
		{"echo 'iptables-restore v1.6.1'", Legacy, ""},
		{"echo 'cannot choose an iptables' >&2; exit 1", "", "cannot choose an iptables"},
	} {
		must(t, os.WriteFile(file, []byte("#!/bin/sh\n"+tt.does+"\n"), 0o755))
		for _, b := range []Backend{NFT, Legacy} {
			got, err := b.tool(t.Context(), IPv4, "restore")
			switch {
			case b == tt.of:
				if got != file || err != nil {
					t.Errorf("%s: %q, %v", tt.does, got, err)
				}
			case tt.of != "":
				if !errors.Is(err, ErrAbsent) {
					t.Errorf("%s: for %s %v", tt.does, b, err)
				}
			case err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), tt.said):
				t.Errorf("%s: %v", tt.does, err)
			}
		}
	}
}
