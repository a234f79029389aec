package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/tools/metrics"
)

// ClientOptions configure the connection to the API server, with kube-proxy's names.
type ClientOptions struct {
	Kubeconfig         string   // empty: the configuration of a pod, unless Servers are given
	Servers            []string // URLs, instead of the one of Kubeconfig or of the pod's environment
	AcceptContentTypes string
	ContentType        string // empty: protobuf
	QPS                float32
	Burst              int
	UserAgent          string
}

// LoadConfigs returns one configuration for each server. Its error names the unreadable or missing
// file or setting.
func LoadConfigs(o ClientOptions) ([]*rest.Config, error) {
	base, err := baseConfig(o)
	if err != nil {
		return nil, err
	}
	base.QPS, base.Burst, base.UserAgent = o.QPS, o.Burst, o.UserAgent
	base.AcceptContentTypes = o.AcceptContentTypes
	base.ContentType = cmp.Or(o.ContentType, runtime.ContentTypeProtobuf)
	base.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	if len(o.Servers) == 0 {
		return []*rest.Config{base}, nil
	}
	var out []*rest.Config
	for _, s := range o.Servers {
		c := rest.CopyConfig(base)
		c.Host = urlOf(s)
		out = append(out, c)
	}
	return out, nil
}

func urlOf(server string) string {
	if !strings.Contains(server, "://") {
		return "https://" + server
	}
	return server
}

// Addresses returns the addresses of the API servers that are configured by address. It does not
// resolve names.
func Addresses(configs []*rest.Config) []netip.AddrPort {
	var out []netip.AddrPort
	for _, c := range configs {
		u, err := url.Parse(urlOf(c.Host))
		if err != nil {
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		if a, err := netip.ParseAddrPort(net.JoinHostPort(u.Hostname(), port)); err == nil {
			out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	}
	return out
}

// dialTimeout is short since another server may answer.
const dialTimeout = 5 * time.Second

func baseConfig(o ClientOptions) (*rest.Config, error) {
	switch {
	case o.Kubeconfig != "":
		server := ""
		if len(o.Servers) > 0 {
			server = urlOf(o.Servers[0]) // client-go leaves out credentials without a scheme
		}
		c, err := readKubeconfig(o.Kubeconfig, server)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", o.Kubeconfig, err)
		}
		return c, nil
	default:
		c, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) && len(o.Servers) > 0 {
			return &rest.Config{}, nil // such as a proxy on the loopback device that needs no credentials
		}
		if err != nil {
			return nil, fmt.Errorf("neither --manifests nor --kubeconfig is given, and the configuration of a pod is missing: %w", err)
		}
		return c, nil
	}
}

// readKubeconfig never falls back to the credentials of a pod, as client-go
// does if there is no cluster in the file.
func readKubeconfig(path, server string) (*rest.Config, error) {
	file, err := (&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}).Load()
	if err != nil {
		return nil, err
	}
	overrides := &clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: server}}
	c, err := clientcmd.NewDefaultClientConfig(*file, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("its current-context names no cluster and user")
	}
	return c, err
}

// groupVersion is the group and version of kinds, with their path at an API server.
type groupVersion struct {
	schema.GroupVersion
	path string
}

var (
	core      = groupVersion{corev1.SchemeGroupVersion, "/api"}
	discovery = groupVersion{discoveryv1.SchemeGroupVersion, "/apis"}
	events    = groupVersion{eventsv1.SchemeGroupVersion, "/apis"}
)

// apiScheme has only the groups that kube-ipvs reads or writes: client-go's scheme costs memory for
// all groups.
var apiScheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(s); err != nil {
			panic(err) // two kinds of one name: a fault of the build
		}
	}
	return s
}()

// apiServer is one API server.
type apiServer struct {
	clients map[groupVersion]rest.Interface
}

func newAPIServer(c *rest.Config) (*apiServer, error) {
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	own := *client // the original may be shared: http.DefaultClient
	own.Transport = newTransport(cmp.Or(client.Transport, http.DefaultTransport))
	client = &own
	s := &apiServer{clients: map[groupVersion]rest.Interface{}}
	for _, gv := range []groupVersion{core, discovery, events} {
		own := rest.CopyConfig(c)
		own.GroupVersion, own.APIPath = &gv.GroupVersion, gv.path
		own.NegotiatedSerializer = serializer.NewCodecFactory(apiScheme).WithoutConversion()
		if s.clients[gv], err = rest.RESTClientForConfigAndClient(own, client); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// apiServers are asked in turn, beginning with the one that answered last.
type apiServers struct {
	all []*apiServer
	at  atomic.Int32
}

// ask calls f with the client of a server, and with those of the next ones until one answers.
func (s *apiServers) ask(ctx context.Context, gv groupVersion, f func(rest.Interface) error) error {
	var err error
	for range s.all {
		at := s.at.Load()
		server := s.all[int(at)%len(s.all)]
		err = f(server.clients[gv])
		if err == nil || ctx.Err() != nil || !silent(err) {
			return err
		}
		s.at.CompareAndSwap(at, (at+1)%int32(len(s.all)))
	}
	return err
}

// silent reports whether an error means that a server does not work, while another may.
func silent(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	code := status.Status().Code
	return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests
}

// listTimeout is how long each server may take for a list, which is long for large clusters and
// loaded servers. Tests set less.
var listTimeout = 2 * time.Minute

// listerWatcher lists and watches a kind, and reports failures.
type listerWatcher struct {
	kind    kind
	servers *apiServers
	health  *health
	slim    cache.TransformFunc
	field   string    // selector; emptied where the server does not know it
	opened  time.Time // the last watch that a server has answered
}

// IsWatchListSemanticsUnSupported tells a reflector not to read all objects by a watch. For such a
// watch Kubernetes 1.37 sends 2.4 times as many bytes as for a list, and needs three times as much
// CPU, and decodeList needs no more memory than it.
func (lw *listerWatcher) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext is part of cache.ListerWatcherWithContext.
func (lw *listerWatcher) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	list, err := lw.list(ctx, o)
	if lw.unknownField(err) {
		list, err = lw.list(ctx, o)
	}
	lw.note(ctx, verbList, err)
	if err == nil {
		lw.health.works(verbList)
	}
	return list, err
}

// List is part of cache.ListerWatcher.
func (lw *listerWatcher) List(o metav1.ListOptions) (runtime.Object, error) {
	return lw.ListWithContext(context.Background(), o)
}

func (lw *listerWatcher) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector, o.FieldSelector = lw.kind.label, lw.field
	// A reflector begins with version 0, which means any version in the cache: it may be older
	// than the programmed one. No version means the newest one. API servers since 1.31 have that
	// in their cache too, but only for lists without a limit (KEP-2340).
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
	if o.ResourceVersion == "" && o.Continue == "" {
		o.Limit = 0
	}
	var list runtime.Object
	err := lw.servers.ask(ctx, lw.kind.group, func(c rest.Interface) error {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		request := c.Get().Resource(lw.kind.name).VersionedParams(&o, parameters).MaxRetries(0)
		// client-go tells its metrics how long requests take, but for those that are read as a stream.
		defer func(began time.Time) {
			metrics.RequestLatency.Observe(ctx, http.MethodGet, *request.URL(), time.Since(began))
		}(time.Now())
		answer, err := request.Stream(ctx)
		if err != nil {
			return err
		}
		defer answer.Close()
		list, err = decodeList(answer, lw.kind, lw.slim)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// WatchWithContext is part of cache.ListerWatcherWithContext.
func (lw *listerWatcher) WatchWithContext(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
	<-impatient{ctx: ctx}.After(time.Until(lw.opened.Add(watchPace)))
	w, err := lw.watch(ctx, o)
	if lw.unknownField(err) {
		w, err = lw.watch(ctx, o)
	}
	lw.note(ctx, verbWatch, err)
	return w, err
}

// Watch is part of cache.ListerWatcher.
func (lw *listerWatcher) Watch(o metav1.ListOptions) (apiwatch.Interface, error) {
	return lw.WatchWithContext(context.Background(), o)
}

func (lw *listerWatcher) watch(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
	o.LabelSelector, o.FieldSelector, o.Watch = lw.kind.label, lw.field, true
	var timeout time.Duration
	if o.TimeoutSeconds != nil {
		timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	var w apiwatch.Interface
	err := lw.servers.ask(ctx, lw.kind.group, func(c rest.Interface) (err error) {
		var out outcome
		ctx := context.WithValue(ctx, outcomeKey{}, &out)
		w, err = c.Get().Resource(lw.kind.name).VersionedParams(&o, parameters).Timeout(timeout).MaxRetries(0).Watch(ctx)
		if out.err != nil {
			return unanswered{cmp.Or(err, out.err)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	lw.opened = time.Now()
	return lw.follow(ctx, w), nil
}

var parameters = runtime.NewParameterCodec(apiScheme)

// unknownField drops the field selector if a server refuses it, as servers before 1.31 do: the
// model leaves out the other objects.
func (lw *listerWatcher) unknownField(err error) bool {
	if lw.field == "" || lw.kind.name == "nodes" || !apierrors.IsBadRequest(err) {
		return false
	}
	lw.field = ""
	return true
}

// note reports an error, except the end of ctx and a version that is too old, which are no
// faults.
func (lw *listerWatcher) note(ctx context.Context, verb string, err error) {
	if err != nil && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		lw.health.fails(verb, err)
	}
}
