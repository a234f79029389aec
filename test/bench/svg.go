package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// colours of the lines, the same in all plots. The lightness and the name at each
// line's end serve readers who do not see colours.
var colours = map[string]string{ours: "#0b5fa5", "iptables": "#d1495b", "nftables": "#66a182", "ipvs": "#edae49", "bare watch": "#444444", "floor": "#444444"}

const otherColour = "#6d4c7d"

const lineHeight = 14 // of a name

const (
	width, height            = 720, 420
	left, right, top, bottom = 70, 150, 40, 50
)

// plot draws the median of a topic against the number of Services, both axes
// logarithmic, one line a subject.
func plot(title string, of []*Figure) string {
	of = slices.DeleteFunc(slices.Clone(of), func(f *Figure) bool { return len(f.Samples) == 0 || f.Median() <= 0 || f.Services <= 0 })
	if len(of) == 0 {
		return ""
	}
	x := axis{from: left, to: width - right}
	y := axis{from: height - bottom, to: top}
	for _, f := range of {
		x.include(float64(f.Services))
		y.include(f.Median())
	}
	x.widen()
	y.widen()
	var out strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	w(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, width, height)
	w(`<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="22" font-size="15">%s (%s, median)</text>`, left, escape(title), escape(of[0].Unit))
	for _, v := range x.ticks() {
		w(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x.at(v), top, x.at(v), height-bottom, x.at(v), height-bottom+18, number(v))
	}
	for _, v := range y.ticks() {
		w(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, left, y.at(v), width-right, y.at(v), left-6, y.at(v)+4, number(v))
	}
	w(`<text x="%d" y="%d" text-anchor="middle">Services</text>`, (left+width-right)/2, height-12)
	var names []*name
	for _, subject := range distinct(of, func(f *Figure) string { return f.Subject }) {
		line := slices.DeleteFunc(slices.Clone(of), func(f *Figure) bool { return f.Subject != subject })
		slices.SortFunc(line, func(a, b *Figure) int { return a.Services - b.Services })
		colour := cmp.Or(colours[subject], otherColour)
		var points []string
		for _, f := range line {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(float64(f.Services)), y.at(f.Median())))
			w(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`, x.at(float64(f.Services)), y.at(f.Median()), colour)
		}
		last := line[len(line)-1]
		w(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`, strings.Join(points, " "), colour)
		names = append(names, &name{x.at(float64(last.Services)) + 8, y.at(last.Median()) + 4, colour, subject})
	}
	for _, n := range apart(names) {
		w(`<text x="%.1f" y="%.1f" fill="%s">%s</text>`, n.x, n.y, n.colour, escape(n.text))
	}
	w(`</svg>`)
	return out.String()
}

// name is that of a line, at its end.
type name struct {
	x, y         float64
	colour, text string
}

// apart moves names down that would lie on others.
func apart(names []*name) []*name {
	slices.SortFunc(names, func(a, b *name) int { return cmp.Compare(a.y, b.y) })
	for i := 1; i < len(names); i++ {
		names[i].y = max(names[i].y, names[i-1].y+lineHeight)
	}
	return names
}

func escape(s string) string { return strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(s) }

// axis maps values to places, by their logarithms.
type axis struct {
	from, to  float64 // places
	low, high float64 // values; both 0: none yet
}

func (a *axis) include(v float64) {
	if a.low == 0 {
		a.low, a.high = v, v
	}
	a.low, a.high = min(a.low, v), max(a.high, v)
}

// widen lets the axis begin and end at powers of ten.
func (a *axis) widen() {
	a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low))), math.Pow(10, math.Ceil(math.Log10(a.high)))
	if a.low == a.high {
		a.high *= 10
	}
}

func (a *axis) at(v float64) float64 {
	return a.from + (a.to-a.from)*(math.Log10(v)-math.Log10(a.low))/(math.Log10(a.high)-math.Log10(a.low))
}

func (a *axis) ticks() []float64 {
	var out []float64
	for v := a.low; v <= a.high*1.001; v *= 10 {
		out = append(out, v)
	}
	return out
}
