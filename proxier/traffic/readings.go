package traffic

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// readings counts the failed readings of a collector, and logs the first of several
// failures in a row. Not safe for several goroutines.
type readings struct {
	prometheus.Counter
	log    *slog.Logger
	text   string // the log message of a failure
	failed bool   // the last reading
}

func newReadings(name, help, text string, log *slog.Logger) readings {
	return readings{Counter: prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}), log: log, text: text}
}

// done notes how a reading has ended.
func (r *readings) done(err error) {
	if err != nil {
		r.Inc()
		if !r.failed {
			r.log.Warn(r.text, "err", err)
		}
	}
	r.failed = err != nil
}
