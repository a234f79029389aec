package model

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func balanced(annotations ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Annotations = map[string]string{}
		for i := 0; i < len(annotations); i += 2 {
			s.Annotations[AnnotationPrefix+annotations[i]] = annotations[i+1]
		}
	}
}

func TestBalance(t *testing.T) {
	for _, tt := range []struct {
		name, annotation, value string
		want                    Balance
		about                   string // part of the problem; empty: none
	}{
		{"scheduler", "scheduler", "lc", Balance{Scheduler: Scheduler{Name: "lc"}}, ""},
		{"flag", "scheduler", "mh,port", Balance{Scheduler: Scheduler{Name: "mh", Chosen: true, Port: true}}, ""},
		{"flags", "scheduler", "sh,fallback,port", Balance{Scheduler: Scheduler{Name: "sh", Chosen: true, Fallback: true, Port: true}}, ""},
		{"unknown flag", "scheduler", "mh,ports", Balance{Scheduler: Scheduler{Name: "mh"}}, `"ports" is not a flag`},
		{"flag of a scheduler without", "scheduler", "lc,port", Balance{Scheduler: Scheduler{Name: "lc"}}, `only sh and mh have flags, and "lc" is neither`},
		{"slow start", "slow-start", "90s", Balance{SlowStart: 90 * time.Second}, ""},
		{"slow start too short", "slow-start", "10ms", Balance{}, `"10ms" is not a time from 1s to 1h`},
		{"eject after", "eject-after", "3s", Balance{EjectAfter: 3 * time.Second}, ""},
		{"eject after too short", "eject-after", "2s", Balance{}, `"2s" is not a time from 3s to 1m; dead endpoints stay`},
		{"slow start without unit", "slow-start", "30", Balance{}, `"30" is not a time`},
		{"limit", "max-connections", "200", Balance{MaxConnections: 200}, ""},
		{"limit of 0", "max-connections", "0", Balance{}, `"0" is not a whole number from 1 to`},
		{"limit below 0", "max-connections", "-1", Balance{}, `"-1" is not`},
		{"weights", "weights", "workload=web-canary:10%, zone=own:3,node=n1:0,slices,*:2", Balance{Weights: []WeightRule{
			{ByWorkload, "web-canary", 10, true}, {ByZone, "own", 3, false}, {ByNode, "n1", 0, false}, {By: BySlice}, {ByAny, "", 2, false},
		}}, ""},
		{"weight too large", "weights", "zone=a:1001", Balance{}, `"zone=a:1001" does not end with a weight from 0 to 1000`},
		{"percentage too large", "weights", "zone=a:101%", Balance{}, `"zone=a:101%" does not end with a whole number from 0 to 100 and %`},
		{"percentages too large", "weights", "zone=a:60%,zone=b:41%", Balance{}, "more than 100 together"},
		{"no weight", "weights", "zone=a", Balance{}, `"zone=a" is not a rule`},
		{"unknown attribute", "weights", "pod=a:1", Balance{}, `"pod=a:1" is not a rule`},
		{"no value", "weights", "zone:1", Balance{}, `"zone:1" is not a rule`},
		{"a value of all", "weights", "*=a:1", Balance{}, "is not a rule"},
		{"empty rule", "weights", "zone=a:1,", Balance{}, `"" is not a rule`},
		{"too many", "weights", strings.Repeat("*:1,", maxRules) + "*:1", Balance{}, "more than 64 rules"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := modelOf(t, service(balanced(tt.annotation, tt.value)))
			if got := *mustView(t, m, web).Balance; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			switch ps := m.Board().List(); {
			case tt.about == "" && len(ps) == 0:
			case len(ps) != 1 || ps[0].Field != "metadata.annotations[kube-ipvs/"+tt.annotation+"]" || !strings.Contains(ps[0].Message, tt.about) || tt.about == "":
				t.Errorf("problems %v, want one about %q", ps, tt.about)
			}
		})
	}
}

func TestWorkload(t *testing.T) {
	for pod, want := range map[string]string{
		"web-canary-7d4b9c8f6d-xk2p1": "web-canary", // of a Deployment
		"web-7d4b9c8f6d-xk2p1":        "web",
		"db-0":                        "db", // of a StatefulSet
		"web-2-0":                     "web-2",
		"web-canary-0":                "web-canary",
		"fluentd-x2kqp":               "fluentd", // of a DaemonSet
		"alone":                       "",
		"-x":                          "",
		"web-7d4b9c8f6d-":             "web", // as the source shortens it
	} {
		if got := Workload(pod); got != want {
			t.Errorf("%s: %q, want %q", pod, got, want)
		}
	}
}

// Weights are those of the endpoints 1, 2, ... in order.
func TestWeights(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		endpoints   []string
		want        string // [] if all are equal
	}{
		{"a tenth to a canary", "workload=web-canary:10%", []string{"10.0.0.1 pod=web-7d4b9c8f6d-aaaaa", "10.0.0.2 pod=web-canary-6d4b9c8f6d-aaaaa"}, "[9 1]"},
		{"a tenth to two canaries of five", "workload=web-canary:10%", []string{"10.0.0.1 pod=web-0", "10.0.0.2 pod=web-1", "10.0.0.3 pod=web-2", "10.0.0.4 pod=web-canary-0", "10.0.0.5 pod=web-canary-1"}, "[6 6 6 1 1]"},
		{"no canary", "workload=web-canary:10%", []string{"10.0.0.1 pod=web-0", "10.0.0.2 pod=web-1"}, "[]"},
		{"only canaries", "workload=web-canary:10%", []string{"10.0.0.1 pod=web-canary-0", "10.0.0.2 pod=web-canary-1"}, "[]"},
		{"zones", "zone=a:3,zone=b:1", []string{"10.0.0.1 in=a", "10.0.0.2 in=b", "10.0.0.3 in=c"}, "[3 1 1]"},
		{"the own zone", "zone=own:80%", []string{"10.0.0.1 in=za", "10.0.0.2 in=b", "10.0.0.3 in=c"}, "[8 1 1]"},
		{"the own node", "node=own:2", []string{"10.0.0.1 node=n1", "10.0.0.2 node=n2", "10.0.0.3"}, "[2 1 1]"},
		{"the first rule counts", "node=n1:5,zone=a:3", []string{"10.0.0.1 node=n1 in=a", "10.0.0.2 in=a"}, "[5 3]"},
		{"none for one", "node=n1:0", []string{"10.0.0.1 node=n1", "10.0.0.2 node=n2"}, "[0 1]"},
		{"none for all counts as equal", "*:0", []string{"10.0.0.1", "10.0.0.2"}, "[]"},
		{"none for all, in two ways", "node=n1:0,*:0%", []string{"10.0.0.1 node=n1", "10.0.0.2"}, "[]"},
		{"all of it to one", "workload=web:100%", []string{"10.0.0.1 pod=web-0", "10.0.0.2 pod=old-0"}, "[1 0]"},
		{"percentages of all", "zone=a:20%,zone=b:30%", []string{"10.0.0.1 in=a", "10.0.0.2 in=b"}, "[2 3]"},
		{"hundredths", "workload=c:1%", []string{"10.0.0.1 pod=c-0", "10.0.0.2 pod=web-0"}, "[1 98]"},
		{"slices say nothing", "slices", []string{"10.0.0.1", "10.0.0.2"}, "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			local := balanced("weights", tt.rules)
			e := mustView(t, modelOf(t, service(local), endpoints(tt.endpoints...)), web).Endpoints[0][0]
			if got := fmt.Sprint(e.ClusterWeights); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestWeightsOfSlices(t *testing.T) {
	blue, green := named("web-blue", endpoints("10.0.0.1")), named("web-green", endpoints("10.0.0.2", "10.0.0.3"))
	green.Annotations = map[string]string{SliceWeightAnnotation: "4"}
	m := modelOf(t, service(balanced("weights", "slices")), blue, green)
	if got := fmt.Sprint(mustView(t, m, web).Endpoints[0][0].ClusterWeights); got != "[1 4 4]" {
		t.Error(got)
	}
	m.TakeDirty()
	green.Annotations[SliceWeightAnnotation] = "x"
	apply(t, m, green)
	wantDirty(t, m, "another weight", "default/web")
	if got := mustView(t, m, web).Endpoints[0][0].ClusterWeights; got != nil {
		t.Error(got)
	}
	if ps := m.Board().List(); len(ps) != 1 || ps[0].Object != "EndpointSlice default/web-green" || ps[0].Field != "metadata.annotations[kube-ipvs/weight]" {
		t.Errorf("problems %v", ps)
	}
}

// Both policies have weights of their own endpoints.
func TestWeightsOfPolicyLocal(t *testing.T) {
	m := modelOf(t, service(balanced("weights", "workload=c:10%")), endpoints("10.0.0.1 pod=web-0", "10.0.0.2 pod=c-0 node=n1", "10.0.0.3 pod=web-1 node=n1"))
	e := mustView(t, m, web).Endpoints[0][0]
	if got := fmt.Sprint(e.ClusterWeights, e.LocalWeights); got != "[9 2 9] [1 9]" {
		t.Error(got)
	}
}

// Whatever the rules say, shares are met within half a hundredth of all connections, and weights stay small.
func TestWholeNumbers(t *testing.T) {
	for percent := uint32(1); percent < 100; percent++ {
		for _, n := range [][2]int{{1, 1}, {1, 9}, {3, 7}, {10, 1}, {1, 100}} {
			shares := []share{{judgement{0, 0}, n[0], 0}, {judgement{-1, 1}, n[1], 0}}
			divide(shares, []WeightRule{{By: ByAny, Weight: percent, Percent: true}})
			w := wholeNumbers(shares)
			canary, rest := float64(n[0])*float64(w[0]), float64(n[1])*float64(w[1])
			if got := 100 * canary / (canary + rest); got < float64(percent)-0.5 || got > float64(percent)+0.5 {
				t.Errorf("%d %% of %v: %v make %.2f %%", percent, n, w, got)
			}
		}
	}
}
