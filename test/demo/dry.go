package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/showcase"
)

// dry is the part of the demo that needs no IPVS, no root and no second program: the loop of
// kube-ipvs over a kernel in memory.
type dry struct {
	page *page
	o    options
	node *showcase.Node
	plan *desired.Preview // of the start
}

// runDry shows it. Like run, it returns errFalse after a claim that was false.
func runDry(_ context.Context, o options, out io.Writer) error {
	p, err := newPage(out, o.colour)
	if err != nil {
		return err
	}
	d := &dry{page: p, o: o, node: showcase.Start(desired.Config{
		Mode: desired.Image, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "node",
		PodCIDRs: [2]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/64")},
	})}
	defer d.node.Close()
	d.node.Kernel.Idle()
	p.heading(0, "Without IPVS: kube-ipvs on the examples, with a kernel in memory")
	for _, show := range []func() error{d.preview, d.program, d.explain, d.status} {
		if err := show(); err != nil {
			p.failed(0, err)
			return errFalse
		}
	}
	return nil
}

// preview shows what a start would write, as the command plan prints it.
func (d *dry) preview() (err error) {
	if d.plan, err = d.node.Preview(d.o.examples); err != nil {
		return err
	}
	var text bytes.Buffer
	d.plan.Print(&text)
	d.page.command("kube-ipvs plan --manifests examples --node-name node ...", excerpt(lines(text.String())))
	if err := d.page.claim("the examples have no mistakes", len(d.plan.Problems) == 0 && d.plan.Complete, "no problem", fmt.Sprint(d.plan.Problems)); err != nil {
		return err
	}
	count := map[state.Kind]int{}
	for _, op := range d.plan.Plan {
		count[op.ID.Kind]++
	}
	return d.page.claim(fmt.Sprintf("%d virtual servers, %d real servers, and their addresses, sets and rules: %d writes, each with its reason",
		count[state.VirtualServer], count[state.RealServer], len(d.plan.Plan)), count[state.VirtualServer] > 0, "some virtual servers", "none")
}

// program has the loop write it, and looks that nothing is left to write.
func (d *dry) program() error {
	first, err := d.node.Follow(d.o.examples)
	if err != nil {
		return err
	}
	writes := 0
	for _, n := range first.Ops {
		writes += n
	}
	d.page.command("kube-ipvs run --manifests examples --node-name node ...", nil)
	if err := d.page.claim(fmt.Sprintf("the loop has written what was planned: %d objects", writes),
		writes == len(d.plan.Plan) && len(first.Failures) == 0, fmt.Sprintf("%d writes, and none that fails", len(d.plan.Plan)),
		fmt.Sprintf("%d writes, and %d that fail", writes, len(first.Failures))); err != nil {
		return err
	}
	if d.plan, err = d.node.Preview(d.o.examples); err != nil {
		return err
	}
	return d.page.claim("a second start would write nothing", len(d.plan.Plan) == 0, "no writes", fmt.Sprintf("%d writes", len(d.plan.Plan)))
}

// explain tells the way of a packet to the Service web.
func (d *dry) explain() error {
	all, err := d.node.Explain(d.plan, webCluster, netip.Addr{})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	desired := true
	for _, e := range all {
		e.Print(&text)
		desired = desired && e.AsDesired
	}
	d.page.command("kube-ipvs explain "+webCluster+" --manifests examples --node-name node ...", lines(text.String()))
	return d.page.claim("kube-ipvs tells the way of a packet to a Service, and why each endpoint is chosen", desired, "all of it as desired", "differences")
}

// status writes the status page into a file.
func (d *dry) status() error {
	answer := httptest.NewRecorder()
	d.node.Page.Handlers()["/"].ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if answer.Code != http.StatusOK {
		return fmt.Errorf("the status page: %s", answer.Body)
	}
	file, err := filepath.Abs(d.o.statusPage)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, answer.Body.Bytes(), 0o644); err != nil {
		return err
	}
	d.page.ok("its status page, to open in a browser: file://%s", file)
	return nil
}
