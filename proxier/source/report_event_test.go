package source

import (
	"cmp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"

	"kube-ipvs/proxier/model"
)

var testCodec = serializer.NewCodecFactory(apiScheme).UniversalDeserializer()

// invalid says why an API server would not take a new Event.
func invalid(e *eventsv1.Event, namespace string) string {
	switch bad := validation.IsDNS1123Subdomain(e.Name); {
	case len(bad) > 0:
		return "name " + e.Name + ": " + bad[0]
	case e.Namespace != namespace, e.Regarding.Namespace != "" && e.Regarding.Namespace != namespace, e.Regarding.Namespace == "" && namespace != "default":
		return "namespace " + e.Namespace + " about one in " + e.Regarding.Namespace
	case len(e.Note) > 1024 || !utf8.ValidString(e.Note) || e.Note == "":
		return "note"
	case e.ReportingInstance == "" || len(e.ReportingInstance) > 128 || e.Reason == "" || e.Action == "" || e.ReportingController == "" || e.Type != "Warning":
		return "a field is missing or too long"
	case e.EventTime.IsZero() || time.Since(e.EventTime.Time) < 0:
		return "eventTime"
	}
	return ""
}

// An API server takes only Events within its limits.
func TestEventIsValid(t *testing.T) {
	for name, c := range map[string]struct{ node, kind, object, message, reason string }{
		"plain":         {"here", "Service", "shop/web", "no", ""},
		"long names":    {strings.Repeat("n.", 120) + "n", "Service", "shop/" + strings.Repeat("s", 63), "no", ""},
		"long note":     {"here", "Service", "shop/web", strings.Repeat("x", 5000), ""},
		"cut in a rune": {"here", "Service", "shop/web", strings.Repeat("ä", 5000), ""},
		"no UTF-8":      {"here", "Service", "shop/web", "\xff\xfe", ""},
		"long slice":    {"here", "EndpointSlice", "shop/" + strings.Repeat("a.", 126) + "a", "no", ""},
		"Node":          {"here", "Node", "here.example.org", "no", ""},
		"full":          {"here", "Service", "shop/web", "no", model.EndpointsFull},
		"silent":        {"here", "Service", "shop/web", "no", model.EndpointsSilent},
	} {
		t.Run(name, func(t *testing.T) {
			p := model.Problem{UID: "uid", Object: c.kind + " " + c.object, Field: "spec", Message: c.message, Reason: c.reason}
			all, _ := model.Troubles(10, []model.Problem{p, p})
			r := &Reporter{node: c.node}
			e := r.event(eventName(&all[0]), &all[0])
			if want := cmp.Or(c.reason, "NotProgrammed"); e.Reason != want {
				t.Errorf("reason %s, want %s", e.Reason, want)
			}
			if want := map[string]string{"full": "Refuse", "silent": "Eject"}[name]; e.Action != cmp.Or(want, "Program") {
				t.Errorf("action %s, want %s", e.Action, want)
			}
			if bad := invalid(e, e.Namespace); bad != "" {
				t.Errorf("%s: %+v", bad, e)
			}
			if !strings.HasPrefix(e.Note, "spec: ") || !strings.HasSuffix(e.Note, " (and 1 more like it)") {
				t.Errorf("note of %d bytes %.40q", len(e.Note), e.Note)
			}
			namespace, name, _ := strings.Cut(c.object, "/")
			uid := "uid"
			if c.kind == "Node" {
				namespace, name, uid = "", c.object, c.object
			}
			if o := e.Regarding; string(o.UID) != uid || o.Kind != c.kind || o.Namespace != namespace || o.Name != name ||
				(o.APIVersion == "discovery.k8s.io/v1") != (c.kind == "EndpointSlice") {
				t.Errorf("about %+v", o)
			}
		})
	}
}

// Another object, another life of it and another cause have other Events;
// another element of a list, message or node has not.
func TestEventName(t *testing.T) {
	names := map[string]string{}
	for about, p := range map[string]model.Problem{
		"":          {UID: "1", Object: "Service shop/web", Field: "spec.externalIPs[0]", Message: "no"},
		"element":   {UID: "1", Object: "Service shop/web", Field: "spec.externalIPs[17]", Message: "no, for another reason"},
		"life":      {UID: "2", Object: "Service shop/web", Field: "spec.externalIPs[0]", Message: "no"},
		"cause":     {UID: "1", Object: "Service shop/web", Message: "no"},
		"namespace": {UID: "1", Object: "Service zoo/web", Field: "spec.externalIPs[0]", Message: "no"},
		"name":      {UID: "1", Object: "Service shop/web2", Field: "spec.externalIPs[0]", Message: "no"},
		"reason":    {UID: "1", Object: "Service shop/web", Field: "spec.externalIPs[0]", Message: "no", Reason: model.EndpointsFull},
		"kind":      {UID: "1", Object: "EndpointSlice shop/web", Field: "spec.externalIPs[0]", Message: "no"},
	} {
		all, _ := model.Troubles(1, []model.Problem{p})
		names[about] = eventName(&all[0])
	}
	for about, name := range names {
		if same := name == names[""]; same != (about == "" || about == "element") {
			t.Errorf("%s: %s, the first is %s", about, name, names[""])
		}
	}
	if !strings.HasPrefix(names[""], "web.") {
		t.Errorf("name %s", names[""])
	}
}
