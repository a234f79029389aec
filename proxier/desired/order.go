package desired

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"kube-ipvs/proxier/model"
)

// ranked is an endpoint and its place in the order.
type ranked struct {
	rank     uint64
	index    int // in the list of endpoints
	endpoint netip.AddrPort
}

// shuffle appends the endpoints in an order that differs by node and port and does not
// change with time. Round robin begins with the last real server that was added, and
// 5,000 nodes must not all begin with the same one.
func shuffle(to []ranked, endpoints []netip.AddrPort, node string, key model.Key, port int) []ranked {
	if len(endpoints) == 1 {
		return append(to, ranked{endpoint: endpoints[0]})
	}
	seed := fnv64a(node, "\x00", key.Namespace, "/", key.Name, "\x00", strconv.Itoa(port))
	for i, e := range endpoints {
		x := seed
		for at, c := range e.Addr().As16() {
			x ^= uint64(c) << (8 * (at % 8))
			x = mix(x)
		}
		to = append(to, ranked{mix(x ^ uint64(e.Port())), i, e})
	}
	slices.SortFunc(to, func(a, b ranked) int {
		if c := cmp.Compare(a.rank, b.rank); c != 0 {
			return c
		}
		return a.endpoint.Compare(b.endpoint)
	})
	return to
}

// fnv64a returns the 64-bit FNV-1a hash of the concatenated texts, as hash/fnv does.
func fnv64a(texts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, text := range texts {
		for i := range len(text) {
			h = (h ^ uint64(text[i])) * 1099511628211
		}
	}
	return h
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
