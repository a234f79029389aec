package main

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"kube-ipvs/proxier/state"
)

// A family whose relay has no port serves no node ports on loopback addresses.
func TestRelayPortTaken(t *testing.T) {
	by, err := net.ListenPacket("udp4", ":1024")
	if err != nil {
		t.Skip(err)
	}
	defer by.Close()
	c, _ := configured(t, "--hostname-override=node", "--nodeport-addresses=localhost")
	var out bytes.Buffer
	listeners := listen(&c.Desired, slog.New(slog.NewTextHandler(&out, nil)))
	if c.Desired.Relay(state.IPv4).IsValid() || !strings.Contains(out.String(), `address=252.0.0.0 port=1024 find="ss -lntup sport = 1024"`) {
		t.Errorf("IPv4 is relayed; logged: %s", &out)
	}
	if six := c.Desired.Relay(state.IPv6).IsValid(); six != (len(listeners) == 1) {
		t.Errorf("IPv6 is relayed: %t, by %d listeners", six, len(listeners))
	}
	_ = by.Close()
	c, _ = configured(t, "--hostname-override=node", "--nodeport-addresses=localhost")
	if listen(&c.Desired, slog.New(slog.DiscardHandler)); !c.Desired.Relay(state.IPv4).IsValid() {
		t.Error("IPv4 is not relayed though the port is free")
	}
}
