package source

import "sync"

// How a kind is read, in words of RBAC.
const (
	verbList  = "list"
	verbWatch = "watch"
)

// health is how reading a kind goes. The same outage is told once, whichever
// verb meets it first.
type health struct {
	kind    kind
	trouble *trouble

	mu     sync.Mutex
	failed map[string]string // by verb that does not work: the class of its last error
	broken int               // streams in a row in which something could not be read
}

// fails tells of an error. It takes the place of another one only if the same
// verb failed otherwise before.
func (h *health) fails(verb string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	about, class, text := describe(h.kind, verb, err)
	was := h.failed[verb]
	h.failed[verb] = class
	h.trouble.put(about, problemOf("", "", text), was != "" && was != class)
}

// works says that reading goes well again. Of a watch that does not work, a
// list that does says nothing.
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

// streamed counts the streams that were not good in a row. It returns whether
// that is to be borne.
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
