// Package browser tests the status page in a real browser, with JavaScript on and off:
// its look, and the effects of typing and clicking. It is a module of its own, so that
// the program does not depend on the driver of a browser.
package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	server = os.Getenv("KUBE_IPVS_STATUSPAGE") // the program that serves a page to look at
	shots  = os.Getenv("KUBE_IPVS_SHOTS")      // folder for pictures; empty: none are taken
	url    string                              // of the page
)

// patience is how long a test may take.
const patience = 60 * time.Second

// services are on the node, beside those in trouble.
const services = 10000

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if server == "" {
		return 0, errors.New("KUBE_IPVS_STATUSPAGE does not say what serves the page: make test-browser")
	}
	cmd := exec.Command(server, "-services", fmt.Sprint(services))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = in.Close() // by which it ends
		_, _ = io.Copy(io.Discard, out)
		err = errors.Join(err, cmd.Wait())
	}()
	if url, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("%s does not say where its page is: %w", server, err)
	}
	url = strings.TrimSpace(url)
	return m.Run(), nil
}

// browser is a tab of a browser that has nothing of earlier ones.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	requests []string // of the last page, and since
	said     []string // on the console, and the browser's complaints
}

// options are needed by a headless Chromium that may run as root, and keep it from
// asking its maker for anything.
var options = append(chromedp.DefaultExecAllocatorOptions[:],
	chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	chromedp.Flag("disable-sync", true), chromedp.Flag("disable-background-networking", true), chromedp.NoFirstRun)

// open starts a browser and opens a path of the page.
func open(t *testing.T, scripts bool, path string) *browser {
	t.Helper()
	// Its profile is a new folder, which goes with it.
	allocated, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	b := &browser{t: t}
	ctx, cancel := chromedp.NewContext(allocated, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	b.ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
	b.size(1280, 900)
	b.open(path)
	return b
}

func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *log.EventEntryAdded:
		b.said = append(b.said, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventConsoleAPICalled:
		b.said = append(b.said, fmt.Sprint("console: ", e.Args))
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.said = append(b.said, "dialog: "+e.Message)
	}
}

func (b *browser) do(actions ...action) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

type action = chromedp.Action[chromedp.Void]

// call runs a command of the browser's protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// open opens a path of the page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url + path))
}

// follow runs actions that lead to another page, and waits for that.
func (b *browser) follow(actions ...action) {
	b.t.Helper()
	answer, err := chromedp.RunResponse(b.ctx, actions...)
	if err != nil || answer.Status != 200 {
		b.t.Fatalf("%+v %v", answer, err)
	}
}

// scheme makes the user's system light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
}

// ask returns the value of an expression, evaluated beside the page: that its
// own scripts are off does not matter.
func ask[T any](b *browser, expression string) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return out
}

// is compares the value of an expression.
func is[T comparable](b *browser, expression string, want T) {
	b.t.Helper()
	if got := ask[T](b, expression); got != want {
		b.t.Errorf("%s is %v, want %v", expression, got, want)
	}
}

// quiet checks that the browser has asked for nothing but the page, its parts
// and an icon, and has had nothing to complain of.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if !strings.HasPrefix(r, url) {
			b.t.Errorf("it asks for %s", r)
		}
	}
	for _, s := range b.said {
		if !strings.HasSuffix(s, "/favicon.ico") { // there is none: 404
			b.t.Errorf("it says: %s", s)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("it has asked for nothing")
	}
}
