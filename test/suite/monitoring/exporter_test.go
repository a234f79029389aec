package monitoring

import (
	"net"
	"net/http"
	"strconv"
	"testing"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/procfs"

	"kube-ipvs/test/lib/testbed"
)

const exporterAddress = "127.0.0.1:9100"

// exporter gives the metrics of node_exporter's collector ipvs for the virtual servers
// of a host, which it reads by the same library.
type exporter struct {
	host           *testbed.Host
	active, weight *client.Desc
}

// exportNode serves an exporter's metrics at an address of the host.
func exportNode(t *testing.T, host *testbed.Host, address string) {
	t.Helper()
	labels := []string{"local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark"}
	registry := client.NewRegistry()
	registry.MustRegister(exporter{host,
		client.NewDesc("node_ipvs_backend_connections_active", "The current active connections by local and remote address.", labels, nil),
		client.NewDesc("node_ipvs_backend_weight", "The current backend weight by local and remote address.", labels, nil)})
	var l net.Listener
	err := host.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// Describe is part of prometheus.Collector.
func (e exporter) Describe(ch chan<- *client.Desc) { ch <- e.active; ch <- e.weight }

// Collect is part of prometheus.Collector.
func (e exporter) Collect(ch chan<- client.Metric) {
	var backends []procfs.IPVSBackendStatus
	err := e.host.Do(func() error {
		fs, err := procfs.NewFS("/proc/thread-self")
		if err == nil {
			backends, err = fs.IPVSBackendStatus()
		}
		return err
	})
	if err != nil {
		ch <- client.NewInvalidMetric(e.active, err)
		return
	}
	for _, b := range backends {
		of := []string{b.LocalAddress.String(), strconv.Itoa(int(b.LocalPort)), b.RemoteAddress.String(), strconv.Itoa(int(b.RemotePort)), b.Proto, b.LocalMark}
		ch <- client.MustNewConstMetric(e.active, client.GaugeValue, float64(b.ActiveConn), of...)
		ch <- client.MustNewConstMetric(e.weight, client.GaugeValue, float64(b.Weight), of...)
	}
}
