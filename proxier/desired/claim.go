package desired

import (
	"cmp"
	"slices"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// claim is a Service's claim to an object that only one Service may have.
type claim struct {
	id    state.ID
	class class
}

// class orders claims before age and name do: the cluster has given a Service its
// ClusterIP, while any user may write any address into externalIPs.
type class uint8

const (
	ofAPIServer  class = iota // ClusterIP of the API server's Service
	toAPIServers              // frontends that lead to protected API servers, see admit
	ofGuard                   // addresses of API servers, see guard
	ofClusterIP
	ofOthers
)

// classSpecs stand for classes among the packed objects of a Service; most need no room.
var classSpecs = [...]state.SpecRef{ofAPIServer: state.Weight(2), toAPIServers: state.Weight(4), ofGuard: state.Weight(3), ofClusterIP: state.Weight(1), ofOthers: state.None}

func classOf(spec state.SpecRef) class {
	return class(slices.IndexFunc(classSpecs[:], spec.Equal))
}

// rank orders rivals of a class: the older Service wins, then the lesser name, so
// that every node and every restart decides alike.
type rank struct {
	created int64
	key     model.Key
}

func (a rank) compare(b rank) int {
	if a.created != b.created {
		return cmp.Compare(a.created, b.created)
	}
	return a.key.Compare(b.key)
}

// claimant is a Service with the class of its claim.
type claimant struct {
	service *service
	class   class
}

func (a claimant) compare(b claimant) int {
	if a.class != b.class {
		return cmp.Compare(a.class, b.class)
	}
	return a.service.rank.compare(b.service.rank)
}

// winner returns the other Service that has an object which a frontend of s needs; nil: s
// has them all.
func (t *Table) winner(s *service, f *Frontend) *service {
	var claims [3]claim // as many as a frontend has at most
	for _, c := range f.claims(claims[:0]) {
		if owner := t.owner(c.id); owner != s {
			return owner
		}
	}
	return nil
}

// owner returns the Service that has a claimed object, or nil.
func (t *Table) owner(id state.ID) *service {
	o, _ := t.owners.Get(id)
	return o.service
}

// claim enters s for c. It returns the Service that loses the object by it, or nil.
func (t *Table) claim(s *service, c claim) *service {
	me := claimant{s, c.class}
	owner, taken := t.owners.Get(c.id)
	switch {
	case !taken:
		t.owners.Put(c.id, me)
		return nil
	case owner.compare(me) < 0:
		t.wait(c.id, me)
		return nil
	}
	t.owners.Put(c.id, me)
	t.wait(c.id, owner)
	return owner.service
}

// wait adds a rival that waits for an object.
func (t *Table) wait(id state.ID, r claimant) {
	all := t.rivals[id]
	at, _ := slices.BinarySearchFunc(all, r, claimant.compare)
	t.rivals[id] = slices.Insert(all, at, r)
}

// release removes the claim c of s. It returns the Service that gets the object by it, or nil.
func (t *Table) release(s *service, c claim) *service {
	waiting := t.rivals[c.id]
	if t.owner(c.id) != s {
		at, found := slices.BinarySearchFunc(waiting, claimant{s, c.class}, claimant.compare)
		if found {
			t.setRivals(c.id, slices.Delete(waiting, at, at+1))
		}
		return nil
	}
	if len(waiting) == 0 {
		t.owners.Delete(c.id)
		return nil
	}
	best := waiting[0]
	t.owners.Put(c.id, best)
	t.setRivals(c.id, slices.Delete(waiting, 0, 1))
	return best.service
}

func (t *Table) setRivals(id state.ID, rivals []claimant) {
	if len(rivals) == 0 {
		delete(t.rivals, id)
		return
	}
	t.rivals[id] = rivals
}
