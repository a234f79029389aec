package model

import (
	"net/netip"
	"testing"

	utilsnet "k8s.io/utils/net"
	"pgregory.net/rapid"
)

// Addresses and ranges are read as Kubernetes reads them, whatever the text.
func checkParse(t interface{ Errorf(string, ...any) }, text string) {
	want, wantOK := netip.AddrFromSlice(utilsnet.ParseIPSloppy(text))
	if a, ok := ParseAddr(text); ok != wantOK || a != want.Unmap() {
		t.Errorf("address %q is %s, %t; want %s, %t", text, a, ok, want.Unmap(), wantOK)
	}
	wantRange := "<nil>"
	if _, n, err := utilsnet.ParseCIDRSloppy(text); err == nil {
		wantRange = n.String()
	}
	if p, ok := ParsePrefix(text); ok != (wantRange != "<nil>") || ok && p.String() != wantRange {
		t.Errorf("range %q is %s, %t; want %s", text, p, ok, wantRange)
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "10.96.011.012", "1.2.3", "1.2.3.4.5", "256.0.0.1", "0x7f.0.0.1", "::", "::ffff:1.2.3.4", "::FFFF:01.2.3.4", "::1.2.3.4",
		"fd00::1%eth0", "fe80::1%0", "fd96::10.0.0.34", "1.2.3.4/08", "1.2.3.4/33", "010.0.0.0/8", "::ffff:1.2.3.4/96", "::ffff:1.2.3.4/95", "::ffff:1.2.3.4/120",
		"::ffff:0.0.0.0/128", "fd00::/8", "fd00::1/129", " 1.2.3.4", "1.2.3.4/-1", "1.2.3.4/", "/8"} {
		checkParse(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		checkParse(t, rapid.StringMatching(`(::|::ffff:|fd00::|fd00:)?0{0,2}[0-9]{1,3}(\.0{0,2}[0-9]{1,3}){0,4}(/0?[0-9]{0,3})?(%e)?`).Draw(t, "text"))
	})
}

func FuzzParse(f *testing.F) {
	f.Add("::ffff:010.0.0.1/104")
	f.Fuzz(func(t *testing.T, text string) { checkParse(t, text) })
}
