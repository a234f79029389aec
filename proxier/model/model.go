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

// Model has all Services and their endpoints. It keeps no reference to the objects that it
// gets, and never changes them. It leaves out the parts of an object that it cannot use and
// reports them as Problems; all other parts count at once.
//
// Only one goroutine at a time may use a Model.
type Model struct {
	node           Node
	nodeName, zone name
	services       Index[*entry]
	slices         Index[*slice]
	served         int      // services that have a View
	dirty          []*entry // some may be removed since
	board          Board
	reserved       func(netip.Addr) string // nil: no address is reserved
	candidates     []candidate             // a buffer for View, as the five below
	endpoints      []Endpoints
	cluster        []netip.AddrPort    // for Endpoints.Cluster
	serving        []netip.AddrPort    // for Endpoints.Serving
	judged         map[alike]judgement // what the rules of a Service say
	weighed        []weighed           // what they make of shares
}

// entry is a service, its slices, or both.
type entry struct {
	key     Key
	service *Service // nil: unknown, or not for kube-ipvs
	origin  name     // of the service
	slices  *slice   // the first by name; the others follow
	dirty   bool     // it is in Model.dirty
}

// Named is part of Keyed.
func (e *entry) Named() Key { return e.key }

// Names of kinds in Problems.
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

// Reserve makes the Model leave out endpoints whose address is reserved on this node. why
// returns the fault of such an address, and "" for all others. Call it before any Apply.
func (m *Model) Reserve(why func(netip.Addr) string) { m.reserved = why }

// SetNode sets the node. If it changes, every service becomes dirty.
func (m *Model) SetNode(node Node) {
	if node == m.node && m.nodeName != (name{}) {
		return
	}
	m.node, m.nodeName, m.zone = node, unique.Make(node.Name), unique.Make(node.Zone)
	m.SetAllDirty()
}

// Expect makes room for a number of Services and EndpointSlices, if the Model is empty, so
// that its tables do not grow step by step.
func (m *Model) Expect(services, endpointSlices int) {
	if m.services.Len() == 0 && m.slices.Len() == 0 {
		m.services.Expect(services)
		m.slices.Expect(endpointSlices)
		m.dirty = slices.Grow(m.dirty, services)
	}
}

// ApplyService sets a service. Only problems use origin.
func (m *Model) ApplyService(svc *corev1.Service, origin string) {
	key := Key{svc.Namespace, svc.Name}
	c := &critic{}
	read := readService(svc, c)
	e := m.entry(key)
	e.origin = nameOf(origin)
	m.report(kindService, key, origin, string(svc.UID), c)
	if known := read != nil && e.service != nil; known && !reflect.DeepEqual(read, e.service) || !known && read != e.service {
		m.serve(e, read)
		m.markDirty(e)
	}
	m.forget(e)
}

// serve sets the service of an entry, or removes it if s is nil.
func (m *Model) serve(e *entry, s *Service) {
	if e.service != nil {
		m.served--
	}
	if s != nil {
		m.served++
	}
	e.service = s
}

// DeleteService removes a service. Its slices stay.
func (m *Model) DeleteService(key Key) {
	m.board.Set(topic(kindService, key), nil)
	e := m.services.Get(key)
	if e == nil {
		return
	}
	if e.service != nil {
		m.markDirty(e)
	}
	m.serve(e, nil)
	m.forget(e)
}

// ApplySlice sets an EndpointSlice, which may come before its service. Only problems use
// origin.
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

// DeleteSlice removes an EndpointSlice.
func (m *Model) DeleteSlice(namespace, name string) {
	key := Key{namespace, name}
	m.board.Set(topic(kindSlice, key), nil)
	m.detach(m.slices.Get(key))
	m.slices.Delete(key)
}

// TakeDirty returns the services whose View may have changed since the last call, in the order
// of Keys. Removed services are among them.
func (m *Model) TakeDirty() []Key {
	keys := make([]Key, 0, len(m.dirty))
	for _, e := range m.dirty {
		e.dirty = false
		keys = append(keys, e.key)
	}
	m.dirty = nil                         // it may have grown to the size of the largest round
	return slices.Compact(m.sorted(keys)) // a removed service may have come again
}

// View returns a service with the endpoints that this node may use, and false if the service
// does not exist or needs no proxy. Its endpoints are valid until the next call of View.
func (m *Model) View(key Key) (View, bool) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return View{}, false
	}
	return m.view(e), true
}

// Service returns a service, and false if it has no View.
func (m *Model) Service(key Key) (*Service, bool) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return nil, false
	}
	return e.service, true
}

// Identity returns the origin and the UID of a service, each empty if unknown.
func (m *Model) Identity(key Key) (origin, uid string) {
	e := m.services.Get(key)
	if e == nil || e.service == nil {
		return "", ""
	}
	return e.origin.Value(), e.service.UID
}

// Keys returns every service that has a View: first default/kubernetes, then DNS in
// kube-system, then the others by name.
func (m *Model) Keys() []Key {
	keys := make([]Key, 0, m.services.Len())
	for e := range m.services.All() {
		if e.service != nil {
			keys = append(keys, e.key)
		}
	}
	return m.sorted(keys)
}

// Size returns the number of services with a View, and of slices.
func (m *Model) Size() (services, slices int) { return m.served, m.slices.Len() }

// Board returns the current problems of all objects.
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

// SetDirty makes a service dirty, if it exists.
func (m *Model) SetDirty(key Key) {
	if e := m.services.Get(key); e != nil && e.service != nil {
		m.markDirty(e)
	}
}

// markDirty makes a service dirty.
func (m *Model) markDirty(e *entry) {
	if !e.dirty {
		e.dirty = true
		m.dirty = append(m.dirty, e)
	}
}

// forget removes an entry without service and slices.
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
		m.markDirty(e)
	}
}

func (m *Model) detach(s *slice) {
	if s == nil || s.service == "" {
		return
	}
	e := m.services.Get(s.owner())
	*e.place(s), s.next = s.next, nil
	if e.service != nil {
		m.markDirty(e)
	}
	m.forget(e)
}

// place returns the place of a slice among the slices of e, or the place for it. It compares no
// namespaces, since a slice is in the namespace of its service.
func (e *entry) place(s *slice) **slice {
	at := &e.slices
	for *at != nil && (*at).key.Name < s.key.Name {
		at = &(*at).next
	}
	return at
}

// sorted sorts keys: the services that the whole cluster needs come first.
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

// rank returns a negative number for services that come before the others.
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
