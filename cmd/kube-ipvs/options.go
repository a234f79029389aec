package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// options are the flags of a command, and the configuration that they load.
type options struct {
	flags config.Flags

	// Flags that replace running.
	cleanup     bool
	initOnly    bool
	writeTo     string
	showVersion bool

	set   *pflag.FlagSet // the parsed one
	level *slog.LevelVar // of the log

	effective *config.Config                // after load
	taken     bool                          // effective is of a running kube-ipvs
	foreign   bool                          // its paths are of other files than those of this process
	current   atomic.Pointer[config.Config] // of run, after the last change of the file
}

// canaryPeriod is the time between looks, as between kube-proxy's checks of its canary chains.
const canaryPeriod = 30 * time.Second

// add adds the flags of the configuration.
func (o *options) add(fs *pflag.FlagSet) {
	o.flags.Add(fs)
	o.set = fs
}

// addInstead adds the flags of kube-proxy that replace running.
func (o *options) addInstead(fs *pflag.FlagSet) {
	fs.BoolVar(&o.cleanup, "cleanup", false, "do what the command cleanup does, and exit")
	fs.BoolVar(&o.initOnly, "init-only", false, "make the settings that need more rights than CAP_NET_ADMIN, such as sysctls, and exit")
	fs.StringVar(&o.writeTo, "write-config-to", "", "write the effective configuration to this file, and exit")
	fs.BoolVar(&o.showVersion, "version", false, "print the version, and exit")
}

// addImages adds only the flags of the prefixes of mapped addresses.
func (o *options) addImages(fs *pflag.FlagSet) { o.flags.AddImages(fs) }

// outputFlag adds -o with the formats that a command prints. The first is the default.
func outputFlag(fs *pflag.FlagSet, format *string, formats ...string) {
	*format = formats[0]
	fs.VarP(&choice{format, formats}, "output", "o", strings.Join(formats, " or "))
}

// choice is a flag for pflag that takes one of some words.
type choice struct {
	value *string
	of    []string
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return "string" }

func (c *choice) Set(text string) error {
	*c.value = text
	return config.OneOf(c.of, text)
}

// Choices is part of chooser.
func (c *choice) Choices() []string { return c.of }

// load sets the effective configuration from flags and file. Its error has all faults.
func (o *options) load() error {
	var err error
	o.effective, err = o.flags.Load()
	return usage(err)
}

// warn prints the warnings of the configuration, as run logs them, on standard error. Standard
// output has only the results.
func (o *options) warn() {
	for _, w := range o.effective.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
}

// config loads the configuration, and returns the parts for the loop and the kernel.
func (o *options) config() (proxier.Config, kernel.Options, error) {
	if err := o.load(); err != nil {
		return proxier.Config{}, kernel.Options{}, err
	}
	c, k := o.parts()
	return c, k, nil
}

// parts returns the parts of the effective configuration for the loop and the kernel.
func (o *options) parts() (proxier.Config, kernel.Options) {
	c := proxierConfig(o.effective)
	c.Log = o.logger()
	return c, kernelOptions(o.effective, c.Desired)
}

func proxierConfig(e *config.Config) proxier.Config {
	return proxier.Config{
		Config: cluster.Config{
			Desired: desiredConfig(e), Zone: e.Own.Zone, NodeCIDR: e.Proxy.DetectLocalMode == config.ByNodeCIDR, PrimaryNodePorts: e.PrimaryNodePorts, NodeIPs: nodeIPs(e),
		},
		AuditPeriod: e.Own.AuditPeriod.Duration, CanaryPeriod: canaryPeriod, DrainTimeout: e.Own.DrainTimeout.Duration, MinSyncPeriod: e.Proxy.IPVS.MinSyncPeriod.Duration,
	}
}

func desiredConfig(e *config.Config) desired.Config {
	d := e.Config
	d.IPv6, d.NoDevice, d.TCPBeLiberal = netutil.HasIPv6(), e.Own.VIPBinding == netutil.BindRoute, e.Conntrack.TCPBeLiberal
	d.EstablishedTimeout, d.CloseWaitTimeout = orLeave(e.Conntrack.TCPEstablishedTimeout), orLeave(e.Conntrack.TCPCloseWaitTimeout)
	switch local := e.Proxy.DetectLocal; e.Proxy.DetectLocalMode {
	case config.ByClusterCIDR:
		return d
	case config.ByBridgeInterface:
		d.PodInterface = local.BridgeInterface
	case config.ByInterfacePrefix:
		d.PodInterface = local.InterfaceNamePrefix + "+"
	}
	d.PodCIDRs = [2]netip.Prefix{}
	return d
}

// orLeave returns -1 for 0: desired leaves a negative timeout alone, the configuration a zero.
func orLeave(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func kernelOptions(e *config.Config, d desired.Config) kernel.Options {
	k := kernel.Options{IPv6: d.IPv6, Backend: e.IPTablesBackend, NodeIPs: nodeIPs(e), TakeOver: e.Own.Takeover, ExcludeCIDRs: e.ExcludeCIDRs}
	for _, im := range d.Images {
		k.Images = append(k.Images, im.All()...)
	}
	for _, family := range state.Families(true) {
		if at := d.Relay(family); at.IsValid() {
			k.Relays = append(k.Relays, at.Addr())
		}
	}
	return k
}

// nodeIPs returns the configured addresses of the node: nodeIPs, and bindAddress for a family
// without one.
func nodeIPs(e *config.Config) []netip.Addr {
	bind := e.BindAddress
	taken := slices.ContainsFunc(e.NodeIPs, func(a netip.Addr) bool { return a.Is4() == bind.Is4() })
	if bind.IsUnspecified() || taken {
		return e.NodeIPs
	}
	return append(slices.Clone(e.NodeIPs), bind)
}

// imagePrefixes returns the prefixes of mapped addresses of this node. Its error names every
// wrong flag.
func (o *options) imagePrefixes() ([2]desired.Images, error) {
	if err := o.loadHere(io.Discard); err != nil {
		return [2]desired.Images{}, err
	}
	return o.effective.Images, nil
}

// level returns the least level that the log has.
func level(e *config.Config) slog.Level {
	if e.Proxy.Logging.Verbosity >= config.DebugVerbosity {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (o *options) logger() *slog.Logger {
	o.level = &slog.LevelVar{}
	o.level.Set(level(o.effective))
	opts := &slog.HandlerOptions{Level: o.level}
	if o.effective.Proxy.Logging.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}
