package explain

import (
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

func TestParseQuery(t *testing.T) {
	at := netip.MustParseAddrPort
	tests := []struct {
		text string
		want Query
		says string // of the error
	}{
		{"default/web", Query{Service: model.Key{Namespace: "default", Name: "web"}}, ""},
		{"default/web:http", Query{Service: model.Key{Namespace: "default", Name: "web"}, Port: "http"}, ""},
		{"default/web:80", Query{Service: model.Key{Namespace: "default", Name: "web"}, Port: "80"}, ""},
		{"10.96.0.1:443", Query{At: at("10.96.0.1:443")}, ""},
		{"10.96.0.1:53/udp", Query{At: at("10.96.0.1:53"), Proto: state.UDP}, ""},
		{"[fd96::1]:443/TCP", Query{At: at("[fd96::1]:443"), Proto: state.TCP}, ""},
		{"[::ffff:10.96.0.1]:443", Query{At: at("10.96.0.1:443")}, ""},
		{"10.96.0.1", Query{At: at("10.96.0.1:0")}, ""},
		{"10.96.0.1/udp", Query{At: at("10.96.0.1:0"), Proto: state.UDP}, ""},
		{"fd96::1", Query{At: at("[fd96::1]:0")}, ""},
		{"[fd96::1]", Query{At: at("[fd96::1]:0")}, ""},
		{"fe80::1%eth0", Query{At: at("[fe80::1]:0")}, ""},
		{":30080", Query{At: netip.AddrPortFrom(netip.Addr{}, 30080)}, ""},
		{":30080/UDP", Query{At: netip.AddrPortFrom(netip.Addr{}, 30080), Proto: state.UDP}, ""},
		{":0", Query{}, "is none of"},
		{":99999", Query{}, "is none of"},
		{":", Query{}, "is none of"},
		{"[fd96::1", Query{}, "is none of"},
		{"10.96.0.1:0", Query{}, "is none of"},
		{"10.96.0.1/", Query{}, `names "", which`},
		{"10.96.0.1:80/http", Query{}, `names "http", which is not tcp, udp or sctp`},
		{"10.96.0.1:99999", Query{}, "none of NAMESPACE/NAME"},
		{"web", Query{}, `"web" is none of`},
		{"default/", Query{}, "is none of"},
		{"/web", Query{}, "is none of"},
		{"default/web:", Query{}, "is none of"},
		{"default/web/http", Query{}, "is none of"},
		{"", Query{}, "is none of"},
	}
	for _, tt := range tests {
		got, err := ParseQuery(tt.text)
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"default/web:http", "10.96.0.1:53/udp", "[fd96::1]:443", "::1", ":30080", "10.96.0.1/udp", "a/b/c", "%:/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(s)
		if err == nil && ((q.At != netip.AddrPort{}) == (q.Service != model.Key{})) {
			t.Errorf("%q is taken for %+v", s, q)
		}
	})
}
