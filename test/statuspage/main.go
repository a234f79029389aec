// Command statuspage serves the status page of a node that is made up, to
// look at it and to test it in a browser. It prints the address, and ends when
// its standard input does.
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
	"kube-ipvs/test/showcase"
)

func main() {
	services := flag.Int("services", 10000, "Services, beside those that are in trouble")
	endpoints := flag.Int("endpoints", 10, "endpoints of each")
	mode := flag.String("mode", "direct", "direct or image")
	address := flag.String("address", "127.0.0.1:0", "to serve at")
	flag.Parse()
	if err := serve(*services, *endpoints, desired.Mode(*mode), *address); err != nil {
		fmt.Fprintln(os.Stderr, "statuspage:", err)
		os.Exit(1)
	}
}

func serve(services, endpoints int, mode desired.Mode, address string) error {
	n := showcase.New(mode)
	defer n.Close()
	n.Tell(showcase.Many(services, endpoints)...)
	n.Troubles()
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
