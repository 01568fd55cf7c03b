package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"slices"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// WritePage writes the report as one HTML page, which loads nothing from anywhere.
func (r *Report) WritePage(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = page.Execute(f, struct {
		*Report
		Rows   []row
		Charts []template.HTML
	}{r, r.rows(), r.charts()})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return f.Close()
}

func (r *Report) charts() []template.HTML {
	over := func(name string, value func(Sample) float64) line {
		l := line{Name: name}
		for _, s := range r.Series {
			l.Points = append(l.Points, point{s.T, value(s)})
		}
		return l
	}
	charts := []chart{
		{Title: "Events acknowledged a second", X: "s", Lines: []line{over("events/s", func(s Sample) float64 { return s.Rate })}},
		{Title: "Bytes acknowledged a second", X: "s", Unit: "MiB/s", Lines: []line{over("MiB/s", func(s Sample) float64 { return s.Bytes / (1 << 20) })}},
		{Title: "Latency over time", X: "s", Unit: "ms", Log: true, Lines: []line{
			over("ack p50", func(s Sample) float64 { return s.Ack50 }), over("ack p99", func(s Sample) float64 { return s.Ack99 }),
			over("follower p99", func(s Sample) float64 { return s.Follow }), over("finish p99", func(s Sample) float64 { return s.Finish }),
		}},
		r.percentiles(),
		{Title: "Slicer lag", X: "s", Unit: "messages", Lines: []line{
			over("behind the cursor", func(s Sample) float64 { return float64(s.Lag) }), over("not read", func(s Sample) float64 { return s.Unread }),
		}},
		{Title: "Sessions open", X: "s", Lines: []line{over("sessions", func(s Sample) float64 { return float64(s.Open) })}},
		{Title: "CPU", X: "s", Unit: "cores", Lines: r.each(func(s Sample, name string) float64 { return s.Cores[name] })},
		{Title: "Memory", X: "s", Unit: "MiB", Lines: r.each(func(s Sample, name string) float64 { return float64(s.RSS[name]) / (1 << 20) })},
	}
	var drawn []template.HTML
	for _, c := range charts {
		drawn = append(drawn, c.draw())
	}
	return drawn
}

// each is a line for each service.
func (r *Report) each(value func(Sample, string) float64) []line {
	var lines []line
	for _, s := range r.Services {
		l := line{Name: s.Name}
		for _, sample := range r.Series {
			l.Points = append(l.Points, point{sample.T, value(sample, s.Name)})
		}
		lines = append(lines, l)
	}
	return lines
}

// percentiles are the latencies over the share of events that are worse, so that each
// nine more takes the same room.
func (r *Report) percentiles() chart {
	c := chart{Title: "Latency by percentile", X: "%", Unit: "ms", Log: true, Nines: true}
	for _, name := range []string{"ack", "follow", "finish"} {
		if curve := r.Curves[name]; len(curve) > 1 {
			c.Lines = append(c.Lines, line{name, nines(curve)})
		}
	}
	return c
}

func nines(curve []load.Point) []point {
	var ps []point
	for _, p := range curve {
		if p.Quantile < 99.9999 {
			ps = append(ps, point{ninesOf(p.Quantile), p.Millis})
		}
	}
	slices.SortFunc(ps, func(a, b point) int { return int(1e6 * (a.x - b.x)) })
	return ps
}
