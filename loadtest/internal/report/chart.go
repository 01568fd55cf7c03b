package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// A chart is a few lines over one axis.
type chart struct {
	Title, X, Unit string
	Log            bool // the upward axis
	Nines          bool // x counts nines: 1 is 90 %, 2 is 99 %
	Dots           bool // the first line's points are marked
	Lines          []line
}

type line struct {
	Name   string
	Points []point
}

type point struct{ x, y float64 }

// Size of a chart and of what is around its area, in units of the drawing.
const (
	width, height                  = 560, 260
	left, right, topRoom, baseRoom = 62, 12, 34, 34
	areaWidth, areaHeight          = width - left - right, height - topRoom - baseRoom
)

func ninesOf(percent float64) float64 { return -math.Log10(1 - percent/100) }

// draw is the chart as an inline SVG.
func (c chart) draw() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s"><text class="title" x="%d" y="14">%s</text>`,
		width, height, template.HTMLEscapeString(c.Title), left, template.HTMLEscapeString(c.Title))
	x, y, ok := c.axes()
	if !ok {
		fmt.Fprintf(&b, `<text x="%d" y="%d">nothing measured</text></svg>`, left, height/2)
		return template.HTML(b.String())
	}
	for _, t := range y.ticks() {
		at := topRoom + areaHeight*(1-y.place(t))
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fH%d"/><text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`,
			left, at, width-right, left-5, at+3.5, short(t))
	}
	for _, t := range x.ticks() {
		at := left + areaWidth*x.place(t)
		fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" x="%.1f" y="%d">%s</text>`, at, height-baseRoom+15, c.label(t))
	}
	fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%d">%s</text>`, width-right, height-4, c.X)
	fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%d">%s</text>`, left-5, topRoom-10, c.Unit)
	at := left
	for i, l := range c.Lines {
		fmt.Fprintf(&b, `<text class="key l%d" x="%d" y="28">— %s</text>`, i%6, at, template.HTMLEscapeString(l.Name))
		at += 7*len(l.Name) + 30
		fmt.Fprintf(&b, `<path class="line l%d" d="%s"/>`, i%6, c.path(l, x, y))
	}
	if c.Dots {
		for _, p := range c.Lines[0].Points {
			fmt.Fprintf(&b, `<path class="line l0" d="M%.1f %.1fm-3 0h6m-3 -3v6"/>`, left+areaWidth*x.place(p.x), topRoom+areaHeight*(1-y.place(p.y)))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// path leaves out what a logarithm has no place for: moments without a measurement.
func (c chart) path(l line, x, y axis) string {
	var b strings.Builder
	for _, p := range l.Points {
		if c.Log && p.y <= 0 {
			continue
		}
		op := 'L'
		if b.Len() == 0 {
			op = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", op, left+areaWidth*x.place(p.x), topRoom+areaHeight*(1-y.place(p.y)))
	}
	return b.String()
}

func (c chart) label(t float64) string {
	if c.Nines {
		return fmt.Sprintf("%.6g", 100*(1-math.Pow(10, -t)))
	}
	return short(t)
}

func (c chart) axes() (x, y axis, ok bool) {
	x, y = axis{low: math.Inf(1), high: math.Inf(-1)}, axis{low: math.Inf(1), high: math.Inf(-1), log: c.Log}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if c.Log && p.y <= 0 {
				continue
			}
			x.low, x.high = min(x.low, p.x), max(x.high, p.x)
			y.low, y.high = min(y.low, p.y), max(y.high, p.y)
		}
	}
	if math.IsInf(x.low, 0) || math.IsInf(y.low, 0) {
		return x, y, false
	}
	if c.Log {
		y.low, y.high = math.Pow(10, math.Floor(math.Log10(y.low))), math.Pow(10, math.Ceil(math.Log10(y.high)))
	} else {
		y.low = min(0, y.low)
	}
	if x.high <= x.low {
		x.high = x.low + 1
	}
	if y.high <= y.low {
		y.high = y.low + 1
		if c.Log {
			y.high = y.low * 10
		}
	}
	return x, y, true
}

type axis struct {
	low, high float64
	log       bool
}

// place is where v is on the axis, from 0 to 1.
func (a axis) place(v float64) float64 {
	if a.log {
		return (math.Log10(v) - math.Log10(a.low)) / (math.Log10(a.high) - math.Log10(a.low))
	}
	return (v - a.low) / (a.high - a.low)
}

// ticks are round numbers on the axis, about five.
func (a axis) ticks() []float64 {
	var ts []float64
	if a.log {
		for t := a.low; t <= a.high*1.001; t *= 10 {
			ts = append(ts, t)
		}
		return ts
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(step*m) <= 6 {
			step *= m
			break
		}
	}
	for i := math.Ceil(a.low / step); i*step <= a.high*1.001; i++ {
		ts = append(ts, i*step)
	}
	return ts
}

func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
