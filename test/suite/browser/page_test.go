package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// both runs a test with JavaScript on and off: there must be no difference.
func both(t *testing.T, test func(*testing.T, bool)) {
	t.Helper()
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("scripts=%v", scripts), func(t *testing.T) { test(t, scripts) })
	}
}

const (
	found   = `document.querySelectorAll(".services > tbody").length`
	first   = `document.querySelector(".services th[scope=rowgroup]").firstChild.textContent.trim()`
	current = `document.querySelector("[aria-current=page]").textContent`
)

// A user looks, pages, searches, opens the endpoints and goes back.
func TestVisit(t *testing.T) {
	both(t, func(t *testing.T, scripts bool) {
		b := open(t, scripts, "")
		is(b, `document.title`, "Healthy: kube-ipvs on node-1")
		is(b, `document.documentElement.lang`, "en")
		is(b, found, 50)
		is(b, current, "Page 1 of 201")
		b.follow(chromedp.Click(chromedp.CSS(`a[rel=next]`)))
		is(b, current, "Page 2 of 201")
		is(b, `location.search`, "?page=2")
		b.follow(chromedp.SendKeys(chromedp.CSS(`#q`), "svc-00123"+kb.Enter))
		is(b, `location.search`, "?q=svc-00123")
		is(b, found, 1)
		is(b, first, "ns1/svc-00123:http")
		is(b, `document.querySelector("#q").value`, "svc-00123")
		is(b, `document.querySelector(".services details").open`, true)
		b.follow(chromedp.Click(chromedp.CSS(`form a`)))
		b.follow(chromedp.Click(chromedp.CSS(`input[name=problems]`)), chromedp.Click(chromedp.CSS(`button`)))
		is(b, `location.search`, "?q=&problems=1")
		is(b, found, 4)
		is(b, `document.querySelector("input[name=problems]").checked`, true)
		is(b, first, "shop/copy:http")
		b.follow(chromedp.Click(chromedp.CSS(`form a`)))
		is(b, found, 50)
		const details = `document.querySelectorAll(".services details")[1]`
		is(b, details+`.open`, false)
		b.do(chromedp.Click(chromedp.CSS(`.services tbody:nth-of-type(3) summary`)))
		is(b, details+`.open`, true)
		is(b, details+`.querySelectorAll(".endpoints > tbody > tr").length`, 10)
		b.follow(chromedp.Click(chromedp.CSS(`footer a[href^=state]`)))
		if text := ask[string](b, `document.body.textContent`); !strings.HasPrefix(text, "{\n  \"time\"") {
			t.Errorf("as JSON it is %.100s", text)
		}
		b.quiet()
	})
}

// Names and searches that are markup are shown, and do nothing.
func TestHostileNames(t *testing.T) {
	both(t, func(t *testing.T, scripts bool) {
		const name = `"><script>document.title='broken'</script><img src=x onerror=document.title='broken'>`
		b := open(t, scripts, "")
		is(b, first, name)
		b.follow(chromedp.SendKeys(chromedp.CSS(`#q`), name+kb.Enter))
		is(b, `document.querySelector("#q").value`, name)
		is(b, `document.title`, "Healthy: kube-ipvs on node-1")
		is(b, `document.querySelectorAll("script, img").length`, 0)
		b.quiet()
	})
}

// The style is in force, light or dark as the user's system is; the policy
// that forbids all else lets it.
func TestColors(t *testing.T) {
	b := open(t, false, "")
	for _, c := range []struct{ scheme, page, good string }{
		{"light", "rgb(255, 255, 255)", "rgb(17, 99, 41)"}, {"dark", "rgb(13, 17, 23)", "rgb(86, 211, 100)"},
	} {
		b.scheme(c.scheme)
		is(b, `getComputedStyle(document.body).backgroundColor`, c.page)
		is(b, `getComputedStyle(document.querySelector(".health .good")).color`, c.good)
	}
	b.quiet()
}

// Nothing is wider than the window, down to a small phone.
func TestNarrow(t *testing.T) {
	b := open(t, false, "")
	for _, path := range []string{"", "?q=shop", "?q=no-such", "?q=shop/cart&page=1", "?q=shop/paid"} {
		b.open(path)
		for _, width := range []int64{1920, 1280, 1217, 1215, 1000, 897, 895, 600, 360} {
			b.size(width, 740)
			if got := ask[int64](b, `document.documentElement.scrollWidth`); got > width {
				t.Errorf("%q: %d wide in a window of %d", path, got, width)
			}
		}
	}
}

// Addresses stand in one line, and the endpoints use all of the width that is there: the bars
// grow with it.
func TestWide(t *testing.T) {
	b := open(t, false, "")
	bar := int64(0)
	for _, width := range []int64{1000, 1280, 1920} {
		b.size(width, 900)
		for _, path := range []string{"?q=shop", "?q=shop/cart", "?q=shop/paid"} {
			b.open(path)
			if got := ask[[]string](b, `[...document.querySelectorAll(".services code")].filter(c => c.getClientRects().length > 1).map(c => c.textContent)`); len(got) > 0 {
				t.Errorf("%s, %d wide: not in one line: %q", path, width, got)
			}
			const gap = `[...document.querySelectorAll(".endpoints")].map(e => document.querySelector(".services").getBoundingClientRect().right - e.getBoundingClientRect().right).filter(d => Math.abs(d) > 1).length`
			is(b, gap, 0)
		}
		at := ask[int64](b, `Math.round(document.querySelector(".endpoints meter").getBoundingClientRect().width)`)
		if width > 1280 && at < bar+100 {
			t.Errorf("%d wide: a bar is %d wide, and was %d in a narrower window", width, at, bar)
		}
		bar = at
	}
}

// What stands in a line for the endpoints of a virtual server says that there are more.
func TestMoreEndpointsThanFit(t *testing.T) {
	b := open(t, false, "")
	for _, width := range []int64{1280, 2600} {
		b.size(width, 900)
		const lines = `[...document.querySelectorAll(".some")].filter(s => s.offsetHeight > 0)`
		if n := ask[int64](b, lines+`.length`); n == 0 {
			t.Fatalf("%d wide: no line of endpoints", width)
		}
		is(b, lines+`.filter(s => s.scrollHeight > s.clientHeight + 1 && getComputedStyle(s).webkitLineClamp != "1").length`, 0)
		is(b, lines+`.filter(s => s.querySelectorAll("code").length == 8 && !s.textContent.endsWith("…")).length`, 0)
	}
}

// The keyboard leads through the page in the order of reading, beginning with a way
// past the part above the Services.
func TestKeyboard(t *testing.T) {
	b := open(t, false, "")
	const focused = `(document.activeElement.className || document.activeElement.id || document.activeElement.name || document.activeElement.textContent).trim()`
	var got []string
	for range 20 {
		b.do(chromedp.KeyEvent(kb.Tab))
		got = append(got, ask[string](b, focused))
	}
	at := 0
	for _, want := range []string{"skip", "bad", "warn", "Last round", "q", "problems", "Show"} {
		next := at
		for next < len(got) && got[next] != want {
			next++
		}
		if next == len(got) {
			t.Fatalf("the focus does not come to %q after %q: %q", want, got[:at], got)
		}
		at = next
	}
	if got[0] != "skip" {
		t.Errorf("the first is %q", got[0])
	}
	b.open("")
	b.do(chromedp.KeyEvent(kb.Tab))
	b.do(chromedp.KeyEvent(kb.Enter))
	is(b, `location.hash`, "#services")
	is(b, `document.activeElement.id`, "services")
}

// The words for assistive programs: tables have headings and names, controls have
// labels, sections have names.
func TestSemantics(t *testing.T) {
	b := open(t, false, "?q=shop")
	for what, expression := range map[string]string{
		"table without a caption":  `[...document.querySelectorAll("table:not(.endpoints)")].filter(t => !t.caption || !t.caption.textContent.trim())`,
		"heading without a scope":  `[...document.querySelectorAll("th:not([scope])")]`,
		"control without a label":  `[...document.querySelectorAll("input:not([type=hidden])")].filter(i => !i.labels.length)`,
		"section without a name":   `[...document.querySelectorAll("section")].filter(s => !document.getElementById(s.getAttribute("aria-labelledby")))`,
		"link to nowhere":          `[...document.querySelectorAll("a[href^='#']")].filter(a => !document.getElementById(a.hash.slice(1)))`,
		"id that is there twice":   `[...document.querySelectorAll("[id]")].filter(e => document.querySelectorAll("#" + e.id).length > 1)`,
		"row of the wrong length":  `[...document.querySelectorAll(".list tbody tr, .rounds tbody tr")].filter(r => r.cells.length != r.closest("table").tHead.rows[0].cells.length)`,
		"more or less than one h1": `[...document.querySelectorAll("h1")].slice(1)`,
	} {
		if got := ask[[]string](b, expression+`.map(e => e.outerHTML.slice(0, 200))`); len(got) > 0 {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// Pictures for people to look at.
func TestPictures(t *testing.T) {
	if shots == "" {
		t.Skip("KUBE_IPVS_SHOTS does not say where to put them")
	}
	b := open(t, false, "")
	for _, p := range []struct {
		name, path, scheme string
		width, height      int64
	}{
		{"desktop", "", "light", 1280, 1400}, {"dark", "?q=shop", "dark", 1280, 1600}, {"phone", "?q=shop", "light", 360, 3600}, {"phone-dark", "", "dark", 360, 1600},
	} {
		b.size(p.width, p.height)
		b.scheme(p.scheme)
		b.open(p.path)
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(shots, "status-"+p.name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
