package model

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Model is what is known of all Services and their endpoints. It keeps no
// reference to the objects that it is given and never changes them.
//
// What of an object cannot be used is left out, and Problems tells; all else of it
// counts at once.
//
// A Model is for one goroutine at a time.
type Model struct {
	node           Node
	nodeName, zone name
	services       Index[*entry]
	slices         Index[*slice]
	served         int      // services that have a View
	dirty          []*entry // some may have been forgotten since
	board          Board
	reserved       func(netip.Addr) string // nil: no address is
	candidates     []candidate             // memory for View, as are those below
	endpoints      []Endpoints
	cluster        []netip.AddrPort // Endpoints.Cluster of all endpoints
	serving        []netip.AddrPort // and Endpoints.Serving
}

// entry is a service, its slices, or both.
type entry struct {
	key     Key
	service *Service // nil: unknown or none of ours
	origin  name     // of the service
	slices  *slice   // the first by name; the others follow
	dirty   bool     // it is in Model.dirty
}

// Named is part of Keyed.
func (e *entry) Named() Key { return e.key }

// Kinds of objects, as Problems name them.
const (
	kindService = "Service"
	kindSlice   = "EndpointSlice"
)

// New returns an empty model for a node.
func New(node Node) *Model {
	m := &Model{}
	m.SetNode(node)
	return m
}

// Reserve has endpoints left out whose address this node cannot send to; why
// tells what is wrong with one, and nothing of all others. It is called before
// anything is applied.
func (m *Model) Reserve(why func(netip.Addr) string) { m.reserved = why }

// SetNode says what the node is now. If that is new, every service is dirty.
func (m *Model) SetNode(node Node) {
	if node == m.node && m.nodeName != (name{}) {
		return
	}
	m.node, m.nodeName, m.zone = node, unique.Make(node.Name), unique.Make(node.Zone)
	m.SetAllDirty()
}

// Expect makes room for so many Services and EndpointSlices more, if the Model is
// empty: what grows is made anew again and again.
func (m *Model) Expect(services, endpointSlices int) {
	if m.services.Len() == 0 && m.slices.Len() == 0 {
		m.services.Expect(services)
		m.slices.Expect(endpointSlices)
		m.dirty = slices.Grow(m.dirty, services)
	}
}

// ApplyService says what a service is now. origin is used in problems only.
func (m *Model) ApplyService(svc *corev1.Service, origin string) {
	key := Key{svc.Namespace, svc.Name}
	c := &critic{}
	read := readService(svc, c)
	e := m.entry(key)
	e.origin = nameOf(origin)
	m.report(kindService, key, origin, string(svc.UID), c)
	if known := read != nil && e.service != nil; known && !reflect.DeepEqual(read, e.service) || !known && read != e.service {
		m.serve(e, read)
		m.soil(e)
	}
	m.forget(e)
}

// serve makes s what is known of an entry's service; nil: there is none.
func (m *Model) serve(e *entry, s *Service) {
	if e.service != nil {
		m.served--
	}
	if s != nil {
		m.served++
	}
	e.service = s
}

// DeleteService says that a service is gone. Its slices are remembered.
func (m *Model) DeleteService(key Key) {
	m.board.Set(topic(kindService, key), nil)
	e := m.services.Get(key)
	if e == nil {
		return
	}
	if e.service != nil {
		m.soil(e)
	}
	m.serve(e, nil)
	m.forget(e)
}

// ApplySlice says what an EndpointSlice is now. It may come before its service.
// origin is used in problems only.
func (m *Model) ApplySlice(es *discoveryv1.EndpointSlice, origin string) {
	key := Key{es.Namespace, es.Name}
	c := &critic{}
	read := readSlice(es, c, m.reserved)
	m.report(kindSlice, key, origin, string(es.UID), c)
	old := m.slices.Get(key)
	if old != nil && old.equal(read) {
		return
	}
	m.detach(old)
	m.slices.Put(read)
	m.attach(read)
}

// DeleteSlice says that an EndpointSlice is gone.
func (m *Model) DeleteSlice(namespace, name string) {
	key := Key{namespace, name}
	m.board.Set(topic(kindSlice, key), nil)
	m.detach(m.slices.Get(key))
	m.slices.Delete(key)
}

// TakeDirty returns the services whose View may have changed since the last
// call, in the order of Keys. Those gone or no longer ours are among them.
func (m *Model) TakeDirty() []Key {
	keys := make([]Key, 0, len(m.dirty))
	for _, e := range m.dirty {
		e.dirty = false
		keys = append(keys, e.key)
	}
	m.dirty = nil                         // it may be as long as the largest round ever
	return slices.Compact(m.sorted(keys)) // one that was forgotten may have come again
}

// View returns a service with its endpoints as this node may use them, and
// false if there is no such service or a proxy has nothing to do for it.
// What it says of endpoints is good until the next call: most is looked at once.
func (m *Model) View(key Key) (View, bool) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return View{}, false
	}
	return m.view(e), true
}

// Service returns a service, and false where View does.
func (m *Model) Service(key Key) (*Service, bool) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return nil, false
	}
	return e.service, true
}

// Identity returns where a service came from and its UID, each empty if unknown.
func (m *Model) Identity(key Key) (origin, uid string) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return "", ""
	}
	return e.origin.Value(), e.service.UID
}

// Keys returns every service that has a View: first the API server's, then
// DNS in kube-system, then the rest by name.
func (m *Model) Keys() []Key {
	keys := make([]Key, 0, m.services.Len())
	for e := range m.services.All() {
		if e.service != nil {
			keys = append(keys, e.key)
		}
	}
	return m.sorted(keys)
}

// Size returns how many services have a View, and how many slices are known.
func (m *Model) Size() (services, slices int) { return m.served, m.slices.Len() }

// Board holds what is wrong with the objects now.
func (m *Model) Board() *Board { return &m.board }

func topic(kind string, key Key) Topic { return Topic{"model", kind, key} }

func (m *Model) report(kind string, key Key, origin, uid string, c *critic) {
	var ps []Problem
	if len(c.remarks) > 0 {
		ps = c.problems(origin, kind+" "+key.String())
	}
	for i := range ps {
		ps[i].UID = uid
	}
	m.board.Set(topic(kind, key), ps)
}

func (m *Model) entry(key Key) *entry {
	e := m.services.Get(key)
	if e == nil {
		e = &entry{key: key, origin: noName}
		m.services.Put(e)
	}
	return e
}

// soil makes a service dirty.
func (m *Model) soil(e *entry) {
	if !e.dirty {
		e.dirty = true
		m.dirty = append(m.dirty, e)
	}
}

// forget drops an entry that says nothing any more.
func (m *Model) forget(e *entry) {
	if e.service == nil && e.slices == nil {
		m.services.Delete(e.key)
	}
}

func (m *Model) attach(s *slice) {
	if s.service == "" {
		return
	}
	e := m.entry(s.owner())
	at := e.place(s)
	s.next, *at = *at, s
	if e.service != nil {
		m.soil(e)
	}
}

func (m *Model) detach(s *slice) {
	if s == nil || s.service == "" {
		return
	}
	e := m.services.Get(s.owner())
	*e.place(s), s.next = s.next, nil
	if e.service != nil {
		m.soil(e)
	}
	m.forget(e)
}

// place returns where among the slices of e a slice is, or would be. It
// compares no namespace: slices live in that of their service.
func (e *entry) place(s *slice) **slice {
	at := &e.slices
	for *at != nil && (*at).key.Name < s.key.Name {
		at = &(*at).next
	}
	return at
}

// sorted sorts keys: what the rest of a cluster hangs on comes first.
func (m *Model) sorted(keys []Key) []Key {
	rank := make(map[Key]int)
	for _, key := range keys {
		if r := m.rank(key); r != 0 {
			rank[key] = r
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		if len(rank) > 0 {
			if c := cmp.Compare(rank[a], rank[b]); c != 0 {
				return c
			}
		}
		return a.Compare(b)
	})
	return keys
}

// rank is negative for services that come before the others.
func (m *Model) rank(key Key) int {
	if key == (Key{"default", "kubernetes"}) {
		return -2
	}
	if key.Namespace != "kube-system" {
		return 0
	}
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return 0
	}
	if slices.ContainsFunc(e.service.Ports, func(p Port) bool { return p.Port == 53 }) {
		return -1
	}
	return 0
}
