package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
)

// generator is the load generator's name among the services.
const generator = "generator"

// A row is a name and what there is to say.
type row struct{ Name, Text string }

// rows are the report in words, for the text and the page.
func (r *Report) rows() []row {
	p, e, c := r.Publish, r.EndToEnd, r.Check
	rows := []row{
		{"machine", fmt.Sprintf("%s, %d CPUs, %s, %s, %s", r.Machine.CPU, r.Machine.CPUs, size(r.Machine.Memory), r.Machine.System, r.Machine.Go)},
		{"target", fmt.Sprintf("%s, %d partition(s), sync: %s", r.Setup.Target, r.Setup.Partitions, r.Setup.Sync)},
		{"load", r.Setup.text()},
		{"published", fmt.Sprintf("%d events of %d sessions, %s in %.1f s: %.0f events/s, %s/s", p.Events, p.Sessions, size(p.Bytes), p.Seconds, p.PerSecond, size(int64(p.BytesRate)))},
		{"acknowledged", latency(r.Ack)},
		{"to a follower", latency(r.Follow)},
		{"end to finished", latency(r.Finish)},
		{"end to end", fmt.Sprintf("%d recordings finished %.1f s after the first event: %.0f events/s", e.Finished, e.Seconds, e.PerSecond)},
		{"slicer lag", fmt.Sprintf("%d messages at most, %d at the end", r.Lag.Max, r.Lag.Last)},
	}
	if r.S3.Requests > 0 {
		rows = append(rows, row{"S3", fmt.Sprintf("%d requests (%d failed), %s up, %s down", r.S3.Requests, r.S3.Failed, size(r.S3.Uploaded), size(r.S3.Downloaded))})
	}
	rows = append(rows,
		row{"stored", fmt.Sprintf("%s in %d parts for %s of events, %s of padding", size(c.Stored), c.Parts, size(c.Raw), size(c.Padding))},
		row{"read back", fmt.Sprintf("%d recordings (%.4g %%): %d events as published, %d lost, %d duplicates, %d out of order, %d different, %d extra, %d late",
			c.Sessions, r.CheckedPart*100, c.Events, c.Lost, c.Duplicates, c.Disorder, c.Different, c.Extra, c.Late)})
	if r.LeftOpen > 0 {
		rows = append(rows, row{"left open", fmt.Sprintf("%d sessions, not read back", r.LeftOpen)})
	}
	return rows
}

func (s Setup) text() string {
	parts := []string{fmt.Sprintf("%d sessions of %s", s.Sessions, s.Mix), s.Rate}
	if s.Duration > 0 {
		parts = append(parts, fmt.Sprintf("for %.4g s", s.Duration))
	}
	if s.Events > 0 {
		parts = append(parts, fmt.Sprintf("until %d events", s.Events))
	}
	if s.Ramp > 0 {
		parts = append(parts, fmt.Sprintf("ramp %.4g s", s.Ramp))
	}
	if s.EndOver > 0 {
		parts = append(parts, fmt.Sprintf("ended over %.4g s", s.EndOver))
	}
	return strings.Join(append(parts, fmt.Sprintf("seed %d", s.Seed)), ", ")
}

func latency(s load.Summary) string {
	if s.Count == 0 {
		return "not measured"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms (%d)", number(s.P50), number(s.P90), number(s.P99), number(s.P999), number(s.Max), s.Count)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintf(t, "%s\t%s\n", row.Name, row.Text)
	}
	for _, s := range r.Services {
		fmt.Fprintf(t, "%s\t%.1f s of CPU (%.2f cores), %s at most\n", s.Name, s.CPU, s.Cores, size(s.RSS))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range r.Check.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(w, "FAILED: %s\n", reason)
	}
	if r.Passed {
		fmt.Fprintln(w, "passed")
	}
	return nil
}

func size(n int64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for v >= 1024 && len(units) > 1 {
		v, units = v/1024, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// MiB is the most memory, for the page.
func (s Service) MiB() string { return fmt.Sprintf("%.1f", float64(s.RSS)/(1<<20)) }
