package status

import (
	"fmt"
	"math"
	"strconv"
)

// plot is the duration of rounds as bars, with heights by the logarithm: from
// an idle round to a start there are four powers of ten.
type plot struct {
	Width, Height int
	Left, Base    float64 // where bars begin, and on what they stand
	Bars          []bar
	Lines         []line
	About         string // for who does not see it
}

type bar struct {
	X, Y, Width, Height float64
	Middle              float64 // of its width
	Kind                string  // of the round; failed: something in it did
	Drift               bool
	Text                string
}

type line struct {
	Y, Text float64 // of the line, and of what is written on it
	Label   string
}

// The unit is a pixel of a plot that is shown in its full width.
const (
	plotWidth  = 640
	plotHeight = 150
	plotLeft   = 76
	plotTop    = 16
	plotBase   = plotHeight - 4
	gap        = 2
)

// Powers of ten of a second: a plot begins at the first and reaches to the
// second at least.
const (
	leastPower = -4
	topPower   = -1
)

const kindFailed = "failed"

func newPlot(rounds []Round) plot {
	p := plot{Width: plotWidth, Height: plotHeight, Left: plotLeft, Base: plotBase, About: "no round yet"}
	if len(rounds) == 0 {
		return p
	}
	longest, shortest := 0.0, math.Inf(1)
	for _, r := range rounds {
		longest, shortest = max(longest, r.Took), min(shortest, r.Took)
	}
	top := max(topPower, int(math.Ceil(math.Log10(max(longest, 1e-9)))))
	height := func(seconds float64) float64 {
		share := (math.Log10(max(seconds, 1e-9)) - leastPower) / float64(top-leastPower)
		return max(2, share*(plotBase-plotTop))
	}
	for power := leastPower + 1; power <= top; power++ {
		y := plotBase - height(math.Pow10(power))
		p.Lines = append(p.Lines, line{round(y), round(y + 4), decade(power)})
	}
	slot := float64(plotWidth-plotLeft) / roundsKept
	for i, r := range rounds {
		h := height(r.Took)
		x := plotLeft + slot*float64(roundsKept-len(rounds)+i)
		p.Bars = append(p.Bars, bar{
			X: round(x + gap/2), Y: round(plotBase - h), Width: round(slot - gap), Height: round(h), Middle: round(x + slot/2),
			Kind: r.sort(), Drift: r.Drift > 0, Text: r.String(),
		})
	}
	p.About = fmt.Sprintf("Duration of the last %s: between %s and %s, the last one %s",
		plural(len(rounds), "round", "rounds"), took(shortest), took(longest), took(rounds[len(rounds)-1].Took))
	return p
}

// sort returns the kind of the round, or that it failed.
func (r Round) sort() string {
	if r.Err != "" || r.Failed > 0 {
		return kindFailed
	}
	return r.Kind
}

// String says what the round did.
func (r Round) String() string {
	text := fmt.Sprintf("Round %d, %s, %s: %s, %s", r.Number, clock(r.Started), r.Kind, took(r.Took), plural(r.Writes, "write", "writes"))
	if r.Failed > 0 {
		text += ", " + number(r.Failed) + " failed"
	}
	if r.Drift > 0 {
		text += ", " + number(r.Drift) + " found changed by others"
	}
	if r.Err != "" {
		text += ", aborted: " + r.Err
	}
	return text
}

// decade writes a power of ten of seconds.
func decade(power int) string {
	if power < 0 {
		return strconv.Itoa(int(math.Pow10(power+3))) + " ms"
	}
	return strconv.Itoa(int(math.Pow10(power))) + " s"
}

// round leaves a tenth of a pixel.
func round(x float64) float64 { return math.Round(x*10) / 10 }
