package ipset

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// The bytes on the wire, once by hand: header, nfgenmsg, then attributes
// (length, type, data), little endian as on the machines that run this.
func TestGoldenBytes(t *testing.T) {
	var b netutil.Batch
	AddEntry(&b, "s", HashIPPortNet, Entry{Addr: netip.MustParseAddr("10.0.0.1"), Bits: 32, Proto: 6, Port: 443,
		Peer: netip.MustParseAddr("192.0.2.0"), PeerBits: 24, Comment: "c"})
	DeleteEntry(&b, "s", HashNetPort, Entry{Addr: netip.MustParseAddr("2001:db8::"), Bits: 64, Proto: 17, Port: 53, Comment: "c"})
	create(&b, Set{Name: "s", Type: HashIP, Family: unix.AF_INET, Comments: true, MaxEntries: 1 << 20}, 0)
	want := []string{
		"60000000 0906 0100 00000000 00000000" + // IPSET_CMD_ADD, no EXCL
			"10 00 0000" + // AF_NETLINK
			"0500 0100 06 000000" +
			"0600 0200 7300 0000" +
			"3c00 0780" + // IPSET_ATTR_DATA, nested
			"0600 1a00 6300 0000" +
			"0c00 0180 0800 0140 0a000001" + // IP, big endian
			"0c00 1480 0800 0140 c0000200" + // IP2
			"0500 1500 18 000000" + // CIDR2
			"0500 0700 06 000000" +
			"0600 0440 01bb 0000",
		"58000000 0a06 0100 00000000 00000000" +
			"10 00 0000" +
			"0500 0100 06 000000" +
			"0600 0200 7300 0000" +
			"3400 0780" +
			"1800 0180 1400 0240 20010db8000000000000000000000000" +
			"0500 0300 40 000000" +
			"0500 0700 11 000000" +
			"0600 0440 0035 0000",
		"54000000 0206 0104 00000000 00000000" + // NLM_F_CREATE
			"10 00 0000" +
			"0500 0100 06 000000" +
			"0600 0200 7300 0000" +
			"0c00 0300 686173683a697000" +
			"0500 0400 02 000000" +
			"0500 0500 02 000000" +
			"1400 0780" +
			"0800 1340 00100000" +
			"0800 0840 00000010",
	}
	for i, m := range b.Messages() {
		if got, want := hex.EncodeToString(m), strings.ReplaceAll(want[i], " ", ""); got != want {
			t.Errorf("request %d\n got %s\nwant %s", i, got, want)
		}
	}
}

func TestError(t *testing.T) {
	for no, want := range map[unix.Errno]error{
		4352: ErrFull, unix.ENOENT: ErrNotFound, unix.EEXIST: ErrExist, 4100: ErrInUse, 4098: ErrNoType, 4104: ErrPrefix,
	} {
		err := Error(fmt.Errorf("lost: %w", no))
		if !errors.Is(err, want) || !errors.Is(err, no) || err.Error() != want.Error() {
			t.Errorf("%d: %v", no, err)
		}
		if twice := Error(err); twice != err { //nolint:errorlint // the very same
			t.Errorf("%d: converted twice", no)
		}
	}
	if Error(nil) != nil {
		t.Error("nil")
	}
	for _, err := range []error{netutil.ErrUnknownFate, unix.ENOMEM} {
		if got := Error(err); got != err { //nolint:errorlint // the very same
			t.Errorf("%v became %v", err, Error(err))
		}
	}
}
