package cluster

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const auditPolicyFile = "audit.yaml"

// Every request, when it is answered; a watch when it begins to be.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

func (c *Cluster) auditLog() string { return filepath.Join(c.dir, "audit.log") }

// Request is a request to the API server, and its outcome.
type Request struct {
	Verb, Group, Resource string
	Code                  int32 // HTTP status
	Streams               bool  // a watch that begins with all that there is
}

// Requests returns how often a user has made each sort of request so far. It needs
// Options.Audit.
func (c *Cluster) Requests(user string) (map[Request]int, error) {
	f, err := os.Open(c.auditLog())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[Request]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			User           struct{ Username string }
			Verb, Stage    string
			RequestURI     string
			ObjectRef      *struct{ APIGroup, Resource, Subresource string }
			ResponseStatus struct{ Code int32 }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("audit log: %w: %s", err, lines.Text())
		}
		if e.User.Username != user || e.Verb == "watch" && e.Stage != "ResponseStarted" {
			continue // a watch stands there once more when it has ended
		}
		r := Request{Verb: e.Verb, Resource: e.RequestURI, Code: e.ResponseStatus.Code, Streams: strings.Contains(e.RequestURI, "sendInitialEvents=true")}
		if o := e.ObjectRef; o != nil {
			r.Group, r.Resource = o.APIGroup, o.Resource
			if o.Subresource != "" {
				r.Resource += "/" + o.Subresource
			}
		}
		out[r]++
	}
	return out, lines.Err()
}

// Authority returns the path of the certificates by which a pod knows the API
// server.
func (c *Cluster) Authority() string { return filepath.Join(c.dir, "certs", "apiserver.crt") }

// Address returns the URL of the API server.
func (c *Cluster) Address() string { return c.server() }
