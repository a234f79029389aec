package arch

import "testing"

// doors names the functions by which a process reaches beyond itself: it writes files, starts
// programs, listens and dials. Netlink has doors of its own.
var doors = map[string]bool{
	"os.Create": true, "os.CreateTemp": true, "os.OpenFile": true, "os.WriteFile": true, "os.Rename": true, "os.Remove": true, "os.RemoveAll": true,
	"os.Mkdir": true, "os.MkdirAll": true, "os.MkdirTemp": true, "os.Chmod": true, "os.Chown": true, "os.Chtimes": true, "os.Link": true,
	"os.Symlink": true, "os.Truncate": true, "os.OpenRoot": true, "os.CopyFS": true,
	"syscall.Open": true, "syscall.Unlink": true, "syscall.Rename": true, "syscall.Mknod": true,
	"golang.org/x/sys/unix.Open": true, "golang.org/x/sys/unix.Openat": true, "golang.org/x/sys/unix.Unlink": true, "golang.org/x/sys/unix.Mknod": true,

	"os/exec.Command": true, "os/exec.CommandContext": true, "os.StartProcess": true, "syscall.Exec": true, "syscall.ForkExec": true,
	"syscall.StartProcess": true, "golang.org/x/sys/unix.Exec": true,

	"net.Listen": true, "net.ListenPacket": true, "net.ListenTCP": true, "net.ListenUDP": true, "net.ListenUnix": true, "net.ListenUnixgram": true,
	"net.ListenIP": true, "net.ListenMulticastUDP": true, "(*net.ListenConfig).Listen": true, "(*net.ListenConfig).ListenPacket": true,
	"net.FileListener": true, "net/http.ListenAndServe": true, "(*net/http.Server).ListenAndServe": true, "golang.org/x/sys/unix.Listen": true, "syscall.Listen": true,

	"net.Dial": true, "net.DialTimeout": true, "net.DialTCP": true, "net.DialUDP": true, "net.DialUnix": true, "net.DialIP": true,
	"(*net.Dialer).Dial": true, "(*net.Dialer).DialContext": true, "net/http.Get": true, "net/http.Post": true, "net/http.Head": true,
	"golang.org/x/sys/unix.Connect": true, "syscall.Connect": true,
}

// opened says what each function of the program that has to do with a door does there.
// docs/security.md promises that there is nothing else.
var opened = map[string]string{
	"cmd/kube-ipvs.(*options).write": "writes the file of --write-config-to",
	"netutil.WriteSysctl":            "writes a sysctl",
	"proxier/node.write":             "writes oom_score_adj and conntrack's hash size",
	"proxier/source.load":            "reads a manifest",
	"netutil.run":                    "starts the tools of iptables",
	"proxier/health.Serve":           "listens at the addresses of healthz and metrics",
	"proxier/health.NewPorts":        "listens at health-check node ports",
	"proxier/relay.Listen":           "listens for connections to node ports on loopback addresses",
	"proxier/node.lock":              "listens at the name of the lock",
	"proxier/node.dial":              "asks the holder of the lock",
	"proxier/relay.(*Relay).connect": "dials a node port",
	"proxier/relay.(*udp).begin":     "dials a node port",
	"proxier/eject.dial":             "dials an endpoint that may be dead",
	"proxier/source.LoadConfigs":     "dials an API server",
}

// The program writes the files, starts the programs, and opens the sockets that docs/security.md
// names, and no others.
func TestDoors(t *testing.T) {
	onlyIn(t, doors, opened, []string{"cmd/kube-ipvs", "proxier", "netutil", "ipset"}, "docs/security.md must name it")
}
