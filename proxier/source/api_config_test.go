package source

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// What is wrong with a kubeconfig is told with its path, and the credentials
// of a pod are no substitute.
func TestLoadConfigsSaysWhatIsWrong(t *testing.T) {
	const user, context = `users: [{name: u, user: {token: x}}]`, `contexts: [{name: c, context: {cluster: c, user: u}}], current-context: c`
	for name, c := range map[string]struct{ text, want string }{
		"empty":                {"", "names no cluster"},
		"no YAML":              {"{[", "did not find expected"},
		"another kind":         {"kind: Pod\napiVersion: v1\n", `"Pod"`},
		"no cluster":           {"{apiVersion: v1, kind: Config}", "names no cluster"},
		"no server":            {"{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {}}], " + user + ", " + context + "}", "no server"},
		"context of nothing":   {"{apiVersion: v1, kind: Config, current-context: gone}", "gone"},
		"certificate is no CA": {`{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "https://x", certificate-authority: missing.pem}}], ` + user + ", " + context + "}", "missing.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/kubeconfig"
			write(t, path, c.text)
			t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
			t.Setenv("KUBERNETES_SERVICE_PORT", "443")
			configs, err := LoadConfigs(ClientOptions{Kubeconfig: path})
			if err == nil {
				t.Fatalf("no error, but %v", configs[0].Host)
			}
			if text := err.Error(); !strings.Contains(text, path) || !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("error %q, want %q and the path", text, c.want)
			}
		})
	}
}

func TestLoadConfigsWithoutKubeconfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	configs, err := LoadConfigs(ClientOptions{Servers: []string{"http://127.0.0.1:8001"}})
	if err != nil || len(configs) != 1 || configs[0].Host != "http://127.0.0.1:8001" || configs[0].BearerToken != "" {
		t.Errorf("%v, %v", configs, err)
	}
	if _, err := LoadConfigs(ClientOptions{}); err == nil || !strings.Contains(err.Error(), "--kubeconfig") || !strings.Contains(err.Error(), "--manifests") {
		t.Errorf("error %v", err)
	}
}

// A kubeconfig may name a program that gives the credentials; nothing else makes client-go start one.
func TestLoadConfigsWithPlugin(t *testing.T) {
	for user, plugin := range map[string]string{
		`{token: x}`: "",
		`{exec: {apiVersion: client.authentication.k8s.io/v1, command: /opt/login, interactiveMode: Never}}`: "/opt/login",
	} {
		path := t.TempDir() + "/kubeconfig"
		write(t, path, `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "https://x"}}], users: [{name: u, user: `+user+
			`}], contexts: [{name: c, context: {cluster: c, user: u}}], current-context: c}`)
		configs, err := LoadConfigs(ClientOptions{Kubeconfig: path})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if p := configs[0].ExecProvider; p != nil {
			got = p.Command
		}
		if got != plugin || configs[0].AuthProvider != nil {
			t.Errorf("%s: plugins %q and %v, want %q", user, got, configs[0].AuthProvider, plugin)
		}
	}
}

func TestAddresses(t *testing.T) {
	var configs []*rest.Config
	for _, host := range []string{"https://203.0.113.1:6443", "203.0.113.2", "http://[fd50::1]", "https://api.example.com:6443", "https://[::ffff:203.0.113.3]:6443/path", "%"} {
		configs = append(configs, &rest.Config{Host: host})
	}
	var got []string
	for _, a := range Addresses(configs) {
		got = append(got, a.String())
	}
	if want := "203.0.113.1:6443 203.0.113.2:443 [fd50::1]:80 203.0.113.3:6443"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
