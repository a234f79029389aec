package source

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClusterRefusals(t *testing.T) {
	forbidden := `services is forbidden: User "x" cannot list resource "services"`
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		want  []string
	}{
		"401":         {denied(401, metav1.StatusReasonUnauthorized, "Unauthorized"), []string{"credentials", "token", "services", "endpointslices"}},
		"403":         {on("/services", denied(403, metav1.StatusReasonForbidden, forbidden)), []string{`verb "list"`, "services"}},
		"403 watch":   {onWatch(denied(403, metav1.StatusReasonForbidden, "no")), []string{`verb "watch"`, "endpointslices.discovery.k8s.io"}},
		"404":         {on("/endpointslices", denied(404, metav1.StatusReasonNotFound, "no such page")), []string{"has no endpointslices.discovery.k8s.io/v1"}},
		"500":         {on("/services", denied(500, metav1.StatusReasonInternalError, "etcd is ill")), []string{"services", "since", "etcd is ill"}},
		"not JSON":    {on("/services", raw("application/json", "{")), []string{"services cannot be read"}},
		"HTML":        {on("/services", raw("text/html", "<h1>Welcome</h1>")), []string{"services cannot be read"}},
		"other kind":  {on("/services", raw("application/json", `{"kind":"Cheese","apiVersion":"v1"}`)), []string{"services cannot be read"}},
		"wrong types": {on("/services", raw("application/json", `{"kind":"ServiceList","apiVersion":"v1","items":[{"spec":7}]}`)), []string{"services cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeAPI(t)
			f.put(apiService("web"), apiNode("here"))
			f.fault = c.fault
			r, _ := startAPI(t, f.URL)
			for _, want := range c.want {
				r.awaitProblem(t, want)
			}
			r.look(func() {
				if r.synced > 0 && name != "403 watch" {
					t.Error("synced without having seen everything")
				}
			})
			f.setFault(nil)
			r.awaitWell(t)
			r.awaitSynced(t)
			r.awaitNames(t, "here web")
		})
	}
}

func onWatch(answer func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return on("/endpointslices", func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Query().Get("watch") != "" && answer(w, r)
	})
}

func raw(contentType, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
		return true
	}
}

// What is wrong now is what counts, not what was wrong first.
func TestClusterProblemIsOfNow(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = denied(500, metav1.StatusReasonInternalError, "etcd is ill")
	r, _ := startAPI(t, f.URL)
	r.awaitProblem(t, "etcd is ill")
	f.setFault(denied(401, metav1.StatusReasonUnauthorized, "Unauthorized"))
	r.awaitProblem(t, "credentials")
}

func TestClusterGarbageInStream(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":     "{{{\n",
		"unknown type": `{"type":"CHEESE","object":{"kind":"Service","apiVersion":"v1"}}` + "\n",
		"other kind":   `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}}` + "\n",
		"wrong types":  `{"type":"ADDED","object":{"kind":"Service","apiVersion":"v1","spec":7}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeAPI(t)
			f.fault = on("/services", func(w http.ResponseWriter, r *http.Request) bool {
				return r.URL.Query().Get("watch") != "" && raw("application/json", text)(w, r)
			})
			r := followAPI(t, f, apiService("web"))
			r.awaitProblem(t, "services")
			f.put(apiService("new"))
			f.setFault(nil)
			r.awaitNames(t, "here new web")
		})
	}
}
