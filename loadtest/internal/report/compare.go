package report

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// A Change is a figure in two reports.
type Change struct {
	Name     string
	Old, New float64
	Percent  float64 // how much worse it is; negative if it is better
}

// A figure is one that two reports are compared by.
type figure struct {
	name   string
	value  func(*Report) float64
	larger bool    // is better
	noise  float64 // differences below it mean nothing
}

var figures = []figure{
	{"events published a second", func(r *Report) float64 { return r.Publish.PerSecond }, true, 0},
	{"bytes published a second", func(r *Report) float64 { return r.Publish.BytesRate }, true, 0},
	{"events end to end a second", func(r *Report) float64 { return r.EndToEnd.PerSecond }, true, 0},
	{"ack p50 (ms)", func(r *Report) float64 { return r.Ack.P50 }, false, 0.5},
	{"ack p99 (ms)", func(r *Report) float64 { return r.Ack.P99 }, false, 1},
	{"follow p50 (ms)", func(r *Report) float64 { return r.Follow.P50 }, false, 0.5},
	{"follow p99 (ms)", func(r *Report) float64 { return r.Follow.P99 }, false, 1},
	{"finish p50 (ms)", func(r *Report) float64 { return r.Finish.P50 }, false, 5},
	{"finish p99 (ms)", func(r *Report) float64 { return r.Finish.P99 }, false, 10},
	{"CPU of the services (s/million events)", cpuPerEvent, false, 0},
	{"memory of the services (MiB)", memory, false, 4},
	{"stored bytes an event", storedPerEvent, false, 0},
	{"S3 requests a session", requestsPerSession, false, 0.1},
}

func cpuPerEvent(r *Report) float64 {
	sum := 0.0
	for _, s := range r.Services {
		if s.Name != generator {
			sum += s.CPU
		}
	}
	return per(sum*1e6, float64(r.Publish.Events))
}

func memory(r *Report) float64 {
	var sum int64
	for _, s := range r.Services {
		if s.Name != generator {
			sum += s.RSS
		}
	}
	return float64(sum) / (1 << 20)
}

func storedPerEvent(r *Report) float64 {
	return per(float64(r.Check.Stored), float64(r.Check.Events))
}

func requestsPerSession(r *Report) float64 {
	return per(float64(r.S3.Requests), float64(r.EndToEnd.Finished))
}

func per(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Compare is what changed from one report to another. What either has not measured
// is left out.
func Compare(before, after *Report) []Change {
	var all []Change
	for _, f := range figures {
		a, b := f.value(before), f.value(after)
		if a == 0 || b == 0 {
			continue
		}
		worse := (b - a) / a * 100
		if f.larger {
			worse = (a - b) / b * 100 // as much as the time for the same work grew
		}
		if math.Abs(b-a) < f.noise {
			worse = 0
		}
		all = append(all, Change{f.name, a, b, worse})
	}
	return all
}

// WriteChanges writes a table of changes and returns those worse than a threshold.
func WriteChanges(w io.Writer, changes []Change, threshold float64) (worse []Change, err error) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "before\tafter\tchange\t\t")
	for _, c := range changes {
		mark := ""
		if c.Percent > threshold {
			worse = append(worse, c)
			mark = "WORSE"
		}
		fmt.Fprintf(t, "%s\t%s\t%+.1f %%\t%s\t  %s\n", number(c.Old), number(c.New), (c.New-c.Old)/c.Old*100, mark, c.Name)
	}
	return worse, t.Flush()
}

func number(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
