package health

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// answer is the answer of /healthz and /livez, with kube-proxy's fields and a reason.
type answer struct {
	LastUpdated  time.Time         `json:"lastUpdated"` // of a 200: now
	CurrentTime  time.Time         `json:"currentTime"`
	NodeEligible *bool             `json:"nodeEligible,omitempty"` // /healthz
	Healthy      bool              `json:"healthy"`                // the proxy, regardless of the Node
	Reason       string            `json:"reason,omitempty"`
	Status       map[string]status `json:"status,omitempty"`
}

type status struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// Handler serves the probes. Each answers 200 or 503, with the reason in JSON. 200 means:
//
//	/healthz  the proxy keeps up and its node stays: load balancers may use it
//	/livez    the loop moves: a restart of the proxy would not help
//	/readyz   all objects of the first sync that can be programmed are
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { h.probeHealth(w) })
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { h.probeLife(w) })
	mux.HandleFunc("/readyz", h.readyz)
	return mux
}

func (h *Health) probeHealth(w http.ResponseWriter) {
	v, eligible := h.verdict(time.Now()), true
	reason := v.reason
	if v.node != "" {
		eligible = false
		reason = cmp.Or(reason, v.node)
	}
	h.answer(w, h.healthz, v, answer{NodeEligible: &eligible, Healthy: v.reason == "", Reason: reason})
}

func (h *Health) probeLife(w http.ResponseWriter) {
	v := h.verdict(time.Now())
	h.answer(w, h.livez, v, answer{Healthy: v.stuck == "", Reason: v.stuck})
}

// answer completes a, which is good if it gives no reason, and sends it.
func (h *Health) answer(w http.ResponseWriter, count *prometheus.CounterVec, v verdict, a answer) {
	a.CurrentTime, a.LastUpdated, a.Status = time.Now(), v.updated, map[string]status{}
	for _, f := range h.config.Families {
		a.Status[f.String()] = status{v.updated, a.Healthy}
	}
	good := a.Reason == ""
	if good {
		a.LastUpdated = a.CurrentTime
	}
	count.WithLabelValues(strconv.Itoa(reply(w, good, a))).Inc()
}

func (h *Health) readyz(w http.ResponseWriter, _ *http.Request) {
	ready, reason := h.Ready()
	reply(w, ready, struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason,omitempty"`
	}{ready, reason})
}

// reply writes body and returns the status code.
func reply(w http.ResponseWriter, good bool, body any) int {
	code := http.StatusOK
	if !good {
		code = http.StatusServiceUnavailable
	}
	text, err := json.Marshal(body)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(text) // on an error the client has gone
	return code
}

// answers counts the answers of a probe by their status.
func answers(name, help string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"code"})
	c.WithLabelValues("200")
	c.WithLabelValues("503")
	return c
}
