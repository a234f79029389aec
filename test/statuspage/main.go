// Command statuspage serves the status page of an invented node, to look at it
// and to test it in a browser. It prints the address, and ends when its standard
// input ends. docs/status-page.png is a picture of
// -services 2 -endpoints 2 -hostile=false, at /?q=paid.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/test/lib/showcase"
)

func main() {
	services := flag.Int("services", 10000, "Services, beside those that are in trouble")
	endpoints := flag.Int("endpoints", 10, "endpoints of each")
	mode := flag.String("mode", "direct", "direct or image")
	hostile := flag.Bool("hostile", true, "with names that would do harm if they were not escaped")
	address := flag.String("address", "127.0.0.1:0", "to serve at")
	flag.Parse()
	if err := serve(*services, *endpoints, desired.Mode(*mode), *hostile, *address); err != nil {
		fmt.Fprintln(os.Stderr, "statuspage:", err)
		os.Exit(1)
	}
}

func serve(services, endpoints int, mode desired.Mode, hostile bool, address string) error {
	n := showcase.New(mode)
	defer n.Close()
	n.Tell(showcase.Many(services, endpoints)...)
	if hostile {
		n.Troubles()
	} else {
		n.Faults()
	}
	n.Balance()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: health.Pages{Mode: "ipvs", More: n.Page.Handlers()}.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = srv.Close()
	}()
	fmt.Printf("http://%s/\n", ln.Addr())
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}
