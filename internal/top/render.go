package top

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Lines is the snapshot as text, a line each, with no escape sequences in it. They
// are as long as they need to be.
func (s *Snapshot) Lines() []string {
	var b strings.Builder
	fmt.Fprintf(&b, "tapedeck top   %s   bus %s, %s\n", s.At.Local().Format("2006-01-02 15:04:05"), printable(s.Server), seconds(s.RoundTrip))
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %s\n", printable(p))
	}
	b.WriteString("\n")
	s.totals(&b)
	b.WriteString("\n")
	s.tables(&b)
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func (s *Snapshot) totals(b *strings.Builder) {
	t := s.Totals
	if len(s.Services) == 0 {
		b.WriteString("Only the bus is read: sessions, memory, parts and refused events are known where --scrape says who answers for metrics.\n")
		return
	}
	fmt.Fprintf(b, "slicers    %s   open sessions %s   memory %s of %s   checkpoints on the bus %s\n",
		count(t.Members), count(t.Sessions), bytes(t.Held), bytes(t.Budget), bytes(t.Checkpoints))
	fmt.Fprintf(b, "events     %s   %s/s   parts %s   %s/s   %s/s   upload %s\n",
		count(t.Events), rate(t.EventRate), count(t.Parts), rate(t.PartRate), bytes(t.PartByteRate), seconds(t.Upload))
	fmt.Fprintf(b, "trouble    refused %s   gaps %s   retries %s   fenced %s   takeovers %s   abandoned %s\n",
		count(t.Refused), count(t.Gaps), count(t.Retries), count(t.Fenced), count(t.Takeovers), count(t.Abandoned))
	fmt.Fprintf(b, "completers %s at work   %s tries   %s overdue   access log %s messages behind\n",
		count(t.Completing), count(t.Completed), count(t.Overdue), count(t.AccessLag))
	fmt.Fprintf(b, "producers  %s sessions   %s waiting   %s queued   spool %s\n",
		count(t.Producing), count(t.Waiting), bytes(t.Queued), bytes(t.Spooled))
}

func (s *Snapshot) tables(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tSLICER\tSINCE\tIN/S\tARCHIVED/S\tUNARCHIVED\tLAG EVENTS\tLAG BYTES\tLAG\tOLDEST")
	for _, p := range s.Partitions {
		owner, since := "nobody", "-"
		if p.Owner != "" {
			owner = printable(p.Owner)
		}
		if !p.Since.IsZero() {
			since = ago(s.At.Sub(p.Since))
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", p.Partition, owner, since, rate(p.In), rate(p.Out), p.Unarchived,
			count(p.LagEvents), bytes(p.LagBytes), seconds(p.LagSeconds), seconds(p.Age))
	}
	_ = w.Flush() // to a builder
	b.WriteString("\n")
	w = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STREAM\tUSED\tOF\t%\tFREE\tGROWS/S\tMESSAGES\tSUBJECTS\tREPLICAS")
	for _, x := range s.Streams {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%s\t%s\t%d\t%d\t%d\n", x.Name, bytes(float64(x.Bytes)), bytes(float64(x.Max)),
			100*float64(x.Bytes)/float64(max(x.Max, 1)), bytes(float64(x.Free)), growth(x.Growth), x.Messages, x.Subjects, x.Replicas)
	}
	_ = w.Flush()
	if len(s.Services) == 0 {
		return
	}
	b.WriteString("\n")
	w = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tAT\tVERSION\tWORK GETS THROUGH")
	for _, x := range s.Services {
		state := "yes"
		switch {
		case x.Error != "":
			state = "does not answer"
		case !x.Ready:
			state = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(orDash(x.Name)), x.Addr, printable(orDash(x.Version)), state)
	}
	_ = w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps what others say from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// count is a whole number, a dash for -1, which is not known.
func count(v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

func rate(v float64) string {
	switch {
	case v < 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func seconds(v float64) string {
	switch {
	case v < 0:
		return "-"
	case v < 1:
		return fmt.Sprintf("%.1fms", v*1000)
	case v < 100:
		return fmt.Sprintf("%.1fs", v)
	}
	return ago(time.Duration(v * 1e9))
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func bytes(v float64) string {
	if v < 0 {
		return "-"
	}
	const units = "KMGTPE"
	if v < 1024 {
		return fmt.Sprintf("%.0f B", v)
	}
	unit := 0
	for v /= 1024; v >= 1024 && unit < len(units)-1; unit++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// growth has a sign: a stream that is trimmed shrinks.
func growth(v float64) string {
	switch {
	case v == -1:
		return "-"
	case v < 0:
		return "-" + bytes(-v)
	}
	return bytes(v)
}
