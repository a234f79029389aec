// Command load is the program of pods of test/e2e/life: a server, or a client that reports
// its counts by HTTP.
//
// usage: load serve | load ask HOST WORKERS PAUSE CONNECTIONS
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"kube-ipvs/test/e2e/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: load serve | load ask HOST WORKERS PAUSE CONNECTIONS")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve(ctx)
	case len(os.Args) == 6 && os.Args[1] == "ask":
		err = ask(ctx, os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	requests, err := net.Listen("tcp", ":"+load.HTTPPort)
	if err != nil {
		return err
	}
	echo, err := net.Listen("tcp", ":"+load.EchoPort)
	if err != nil {
		return err
	}
	return (&load.Server{Name: name}).Serve(ctx, requests, echo)
}

func ask(ctx context.Context, args []string) error {
	host := args[0]
	workers, err1 := strconv.Atoi(args[1])
	pause, err2 := time.ParseDuration(args[2])
	connections, err3 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	c := &load.Client{HTTP: net.JoinHostPort(host, load.HTTPPort), Echo: net.JoinHostPort(host, load.EchoPort),
		Workers: workers, Pause: pause, Connections: connections, Period: time.Second, Patience: load.Patience}
	listener, err := net.Listen("tcp", ":"+load.CountsPort)
	if err != nil {
		return err
	}
	counts := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(c.Counts())
	})}
	go func() { _ = counts.Serve(listener) }()
	c.Run(ctx)
	return counts.Close()
}
