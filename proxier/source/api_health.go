package source

import "sync"

// The verbs by which a kind is read, as in RBAC.
const (
	verbList  = "list"
	verbWatch = "watch"
)

// health has the state of reading a kind. It reports an outage once, for the first verb that
// fails.
type health struct {
	kind    kind
	trouble *trouble

	mu     sync.Mutex
	failed map[string]string // by failing verb: the class of its last error
	broken int               // consecutive streams with an error
}

// fails reports an error. It replaces another one only if the same verb failed with another class
// before.
func (h *health) fails(verb string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	about, class, text := describe(h.kind, verb, err)
	was := h.failed[verb]
	h.failed[verb] = class
	h.trouble.put(about, problemOf("", "", text), was != "" && was != class)
}

// works says that a verb works again. A list that works does not mean that a watch works.
func (h *health) works(verb string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failed, verb)
	h.trouble.solved(h.kind.name + " " + verbList)
	if verb == verbList && h.failed[verbWatch] != "" {
		return
	}
	clear(h.failed)
	h.trouble.solved(h.kind.name + " " + verbWatch)
	h.trouble.solved(h.kind.name)
}

// streamed counts the consecutive bad streams. It reports whether their number is tolerable.
func (h *health) streamed(good bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if good {
		h.broken = 0
	} else {
		h.broken++
	}
	return h.broken < 2
}

func (h *health) unbroken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken == 0
}
