package status

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // of the page
	"encoding/base64"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kube-ipvs/proxier/state"
)

//go:embed page.html
var pageText string

//go:embed page.css
var style string

// policy lets the browser use the page's own style and its form, and nothing else.
var policy = "default-src 'none'; style-src 'sha256-" + digest(style) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number": number, "took": took, "plural": plural, "clock": clock, "machine": machine, "wrong": wrong, "share": share, "reason": reason,
}).Parse(pageText))

// shown is the data of the template.
type shown struct {
	*View
	Style   template.CSS
	Newest  []Round // Rounds, the other way round
	Repairs []Drift // Drift, the other way round
	Many    int     // endpoints of a virtual server that the page shows
	Some    int     // of these, those whose addresses it shows while they are folded
	Open    bool    // the endpoints are unfolded
	Refresh int
	query   query
}

// How many endpoints of a virtual server the page lists: many if it shows few virtual servers.
const (
	mostShown  = 1000
	leastShown = 10
	someShown  = 8 // about as many as fit into a line of a wide window
	fewShown   = 3 // ports of Services with unfolded endpoints
)

func writeHTML(b *bytes.Buffer, v *View, q query) error {
	s := shown{
		View: v, Style: template.CSS(style), Newest: slices.Clone(v.Rounds), Repairs: slices.Clone(v.Drift),
		Open: len(v.Services) <= fewShown, Some: someShown, Refresh: q.refresh, query: q,
	}
	slices.Reverse(s.Newest)
	slices.Reverse(s.Repairs)
	servers := 0
	for _, svc := range v.Services {
		servers += svc.servers()
	}
	s.Many = max(leastShown, mostShown/max(1, servers))
	return page.Execute(b, s)
}

// values returns the parameters of another page of the same search.
func (q *query) values(page int) url.Values {
	v := url.Values{}
	if q.text != "" {
		v.Set("q", q.text)
	}
	if q.problems {
		v.Set("problems", "1")
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if q.refresh > 0 {
		v.Set("refresh", strconv.Itoa(q.refresh))
	}
	return v
}

// link returns a reference relative to the page, which may be below a path of another server.
func link(path string, v url.Values) template.URL {
	return template.URL(path + "?" + v.Encode()) //nolint:gosec // url.Values escapes what is in it
}

// PageLink returns the link of another page of the search.
func (s shown) PageLink(page int) template.URL { return link("", s.query.values(page)) }

// JSONLink returns the link of the same content as JSON.
func (s shown) JSONLink() template.URL {
	v := s.query.values(s.Page)
	v.Del("refresh")
	return link("state", v)
}

// SearchLink returns the link of a search.
func (s shown) SearchLink(text string) template.URL { return link("", url.Values{"q": {text}}) }

// RefreshLink returns the link of the page with a refresh period in seconds.
func (s shown) RefreshLink(seconds int) template.URL {
	q := s.query
	q.refresh = seconds
	return link("", q.values(s.Page))
}

// Next and Previous count for the template.
func (s shown) Next() int     { return s.Page + 1 }
func (s shown) Previous() int { return s.Page - 1 }

// First returns the number of the first Service port of the page.
func (s shown) First() int { return (s.Page-1)*s.PageSize + 1 }

// Last returns the number of the last Service port of the page.
func (s shown) Last() int { return (s.Page-1)*s.PageSize + len(s.Services) }

// LastRound returns the newest round, or nil.
func (s shown) LastRound() *Round {
	if len(s.Newest) == 0 {
		return nil
	}
	return &s.Newest[0]
}

// Ago returns the time from at to the View, in words.
func (s shown) Ago(t time.Time) string { return span(s.Time.Sub(t)) + " ago" }

// Waits returns how long changes have waited.
func (s shown) Waits() string { return span(s.Time.Sub(s.Health.Since)) }

// IsTold reports whether the Service has a row of its own for its problems and left out frontends.
func (s Service) IsTold() bool { return len(s.Problems) > 0 || s.More > 0 }

// Rows counts the rows of a Service: its virtual servers, and the row of a Service that IsTold.
func (s Service) Rows() int {
	if s.IsTold() {
		return s.servers() + 1
	}
	return s.servers()
}

// servers counts the virtual servers of the frontends; one that several share counts for each.
func (s Service) servers() int {
	n := 0
	for _, f := range s.Frontends {
		n += len(f.Servers)
	}
	return n
}

// Serves counts the endpoints that may get connections.
func (v Server) Serves() int {
	n := 0
	for _, e := range v.Endpoints {
		if e.Weight > 0 {
			n++
		}
	}
	return n
}

// standing counts endpoints.
type standing struct {
	Number int
	Text   string
	Warn   bool
}

// Standings counts the endpoints that take less than their full part.
func (v Server) Standings() []standing {
	var out []standing
	for _, at := range state.Standings {
		n := 0
		for _, e := range v.Endpoints {
			if e.Standing == at {
				n++
			}
		}
		if n > 0 {
			out = append(out, standing{n, standings[at].many, at == state.Draining || at == state.AtLimit})
		}
	}
	return out
}

// Most returns the connections of the busiest endpoint.
func (v Server) Most() uint32 {
	most := uint32(0)
	for _, e := range v.Endpoints {
		most = max(most, e.Total)
	}
	return most
}

// Busy returns the sum of the connections.
func (v Server) Busy() Connections {
	var c Connections
	for _, e := range v.Endpoints {
		c.Active += e.Active
		c.Inactive += e.Inactive
	}
	return c
}

// FirstEndpoints returns the first endpoints, those that take less than their full part before
// the others.
func (v Server) FirstEndpoints(most int) []Endpoint {
	if len(v.Endpoints) <= most {
		return v.Endpoints
	}
	all := slices.Clone(v.Endpoints)
	slices.SortStableFunc(all, func(a, b Endpoint) int { return order(a) - order(b) })
	return all[:most]
}

func order(e Endpoint) int { return cmp.Compare("", e.Standing) }

// Left returns how many endpoints FirstEndpoints leaves out.
func (v Server) Left(most int) int { return max(0, len(v.Endpoints)-most) }

// IsMissing reports whether the kernel has no such virtual server.
func (v Server) IsMissing() bool { return v.Scheduler == Missing }

// reason returns the Note of an endpoint as a text of its own.
func reason(e Endpoint) string { return strings.TrimPrefix(e.Note(), ", ") }

// share returns a share of connections in per cent.
func share(part uint32, of Connections) string {
	all := max(1, float64(of.Active)+float64(of.Inactive))
	return strconv.FormatFloat(100*float64(part)/all, 'f', 0, 64) + " %"
}

// number returns a number with separated thousands.
func number(n any) string {
	var text string
	switch n := n.(type) {
	case int:
		text = strconv.Itoa(n)
	case uint32:
		text = strconv.FormatUint(uint64(n), 10)
	case uint64:
		text = strconv.FormatUint(n, 10)
	}
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// plural returns a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// took returns seconds as text.
func took(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms < 0.1:
		return "< 0.1 ms"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
}

// span returns a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(max(d, 0)/time.Second)) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " days"
}

// clock returns a time of the last days as text, in UTC as in the log.
func clock(t time.Time) string { return t.UTC().Format("Jan 2 15:04:05") }

func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }
