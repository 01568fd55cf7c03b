package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// cost is what the services of one run have used.
type cost struct {
	name  string
	unit  string
	value func(*Report) float64
}

var costs = []cost{
	{"Memory of the services", "MiB", memory},
	{"Processor time of the services", "s", processor},
}

func processor(r *Report) float64 { return cpuPerEvent(r) * float64(r.Publish.Events) / 1e6 }

// WriteScale writes what runs with different numbers of sessions have cost, the
// smallest number first, and how far each is from the straight line through the first
// and the last.
func WriteScale(w io.Writer, runs []*Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "sessions\tevents\tmemory MiB\tof the line\tCPU s\tof the line\tack p99 ms\tfinish p99 ms\t")
	for _, r := range runs {
		fmt.Fprintf(t, "%d\t%d\t", r.Publish.Sessions, r.Publish.Events)
		for _, c := range costs {
			at := c.value(r)
			fmt.Fprintf(t, "%s\t%.0f %%\t", number(at), 100*per(at, c.straight(runs, float64(r.Publish.Sessions))))
		}
		fmt.Fprintf(t, "%s\t%s\t\n", number(r.Ack.P99), number(r.Finish.P99))
	}
	if len(runs) > 1 {
		first, last := runs[0], runs[len(runs)-1]
		more := float64(last.Publish.Sessions - first.Publish.Sessions)
		fmt.Fprintf(t, "a session more\t\t%s KiB\t\t%s ms\t\t\t\t\n",
			number(per((memory(last)-memory(first))*1024, more)), number(per((processor(last)-processor(first))*1000, more)))
	}
	return t.Flush()
}

// straight is where the straight line through the first run and the last is.
func (c cost) straight(runs []*Report, sessions float64) float64 {
	first, last := runs[0], runs[len(runs)-1]
	a, b := float64(first.Publish.Sessions), float64(last.Publish.Sessions)
	if a == b {
		return c.value(first)
	}
	return c.value(first) + (c.value(last)-c.value(first))*(sessions-a)/(b-a)
}

// drawingStyle is what a page has for its drawings, for one that stands alone.
const drawingStyle = `<style>svg{background:#fff;color:#222}text{font:11px system-ui,sans-serif;fill:#222}.title{font-size:13px;font-weight:600}` +
	`.grid{stroke:#8884}.line{fill:none;stroke-width:1.6}path.l0{stroke:#3b82f6}text.l0{fill:#3b82f6}path.l1{stroke:#e0662b;stroke-dasharray:4 4}text.l1{fill:#e0662b}</style>`

// WriteScaleSVG draws what runs have cost over their numbers of sessions, as one SVG.
func WriteScaleSVG(path string, runs []*Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d">%s`, width, height*len(costs), drawingStyle)
	for i, c := range costs {
		measured, straight := line{Name: "measured"}, line{Name: "straight line"}
		for _, r := range runs {
			n := float64(r.Publish.Sessions)
			measured.Points = append(measured.Points, point{n, c.value(r)})
			straight.Points = append(straight.Points, point{n, c.straight(runs, n)})
		}
		drawn := chart{Title: c.name, X: "sessions", Unit: c.unit, Dots: true, Lines: []line{measured, straight}}.draw()
		fmt.Fprintf(&b, `<svg y="%d" width="%d" height="%d">%s</svg>`, i*height, width, height, drawn)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
