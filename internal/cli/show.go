package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

type showCommand struct {
	source
	Events   bool   `help:"Write the events, one JSON object a line."`
	From     string `help:"With --events, from here on: an index, a time (RFC 3339), or a duration after the start (90s)." placeholder:"WHERE"`
	To       string `help:"With --events, up to here: an index that is not written any more, a time, or a duration after the start." placeholder:"WHERE"`
	WithData bool   `help:"With --events, the terminal's output too, in base64."`
	Stats    bool   `help:"With --events, say on standard error what was downloaded."`
	Format   string `help:"text, or json (the manifest, or what is known of a session that is not finished)." enum:"text,json" default:"text"`
	target
}

// Run shows a session, or some of its events.
func (c *showCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if !c.Events && (c.From != "" || c.To != "" || c.WithData || c.Stats) {
		return withStatus(exitUsage, errors.New("show: --from, --to, --with-data and --stats go with --events"))
	}
	rec, err := c.openRecording(ctx, &c.target, log)
	if err != nil {
		return err
	}
	defer rec.close()
	rec.looked(ctx, c.source, "show", log)
	if c.Events {
		return c.events(ctx, s, rec)
	}
	if c.isFile() {
		return c.file(ctx, s, rec)
	}
	return c.session(ctx, s, rec)
}

func (c *showCommand) events(ctx context.Context, s Streams, rec *opened) error {
	span, err := c.span(ctx, rec)
	if err != nil {
		return err
	}
	var read int64
	bar := newProgress(s.Err, "reading", rec.Size(), false)
	rec.OnRead(func(n int) { read += int64(n); bar.add(int64(n)) })
	defer bar.done()
	out := bufio.NewWriter(s.Out)
	for r, err := range rec.Records(ctx, span) {
		if err != nil {
			return errors.Join(out.Flush(), damage(err))
		}
		line, err := events.MarshalJSON(r.OneOf, events.JSONOptions{WithData: c.WithData})
		if err != nil {
			return errors.Join(out.Flush(), fmt.Errorf("write event %d: %w", r.Index, err))
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	bar.done()
	if c.Stats {
		fmt.Fprintf(s.Err, "read %d bytes of the recording's %d\n", read, rec.Size())
		if rec.in.store != nil {
			st := rec.in.store.Stats()
			fmt.Fprintf(s.Err, "%d requests, %d bytes downloaded in all\n", st.Requests, st.Downloaded)
		}
	}
	return nil
}

// span is the range that --from and --to say.
func (c *showCommand) span(ctx context.Context, rec *opened) (recording.Range, error) {
	var span recording.Range
	if err := c.bound(ctx, rec, c.From, &span.FromIndex, &span.FromTime); err != nil {
		return span, err
	}
	if err := c.bound(ctx, rec, c.To, &span.ToIndex, &span.ToTime); err != nil {
		return span, err
	}
	if span.ToIndex > 0 && span.ToIndex <= span.FromIndex || !span.ToTime.IsZero() && span.ToTime.Before(span.FromTime) {
		return span, withStatus(exitUsage, fmt.Errorf("show: --from %s is not before --to %s", c.From, c.To))
	}
	return span, nil
}

func (c *showCommand) bound(ctx context.Context, rec *opened, text string, index *int64, at *time.Time) error {
	if text == "" {
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		*index = n
		return nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		*at = t
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return withStatus(exitUsage, fmt.Errorf("show: %q is no index (120), no time (2026-01-02T15:04:05Z) and no duration after the start (90s)", text))
	}
	start, err := startOf(ctx, rec)
	*at = start.Add(d)
	return err
}

// startOf is the time of a recording's first event.
func startOf(ctx context.Context, rec *opened) (time.Time, error) {
	if m, _ := rec.Manifest(); m != nil && len(m.Parts) > 0 {
		return m.Parts[0].FirstEvent, nil
	}
	for r, err := range rec.Records(ctx, recording.Range{}) {
		return r.Time(), err
	}
	return time.Time{}, nil
}

// session shows what is known of a session without reading its recording.
func (c *showCommand) session(ctx context.Context, s Streams, rec *opened) error {
	lib := rec.in.library()
	info, err := lib.Find(ctx, c.What)
	if err != nil {
		return c.hint(err)
	}
	m, _ := rec.Manifest()
	if c.Format == "json" {
		if m != nil {
			return writeManifest(s.Out, m)
		}
		return json.NewEncoder(s.Out).Encode(sessionJSON(info))
	}
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("session", "%s", info.Session)
	row("state", "%s", stateText(info))
	if info.Node != "" {
		row("node", "%s", clean(info.Node))
	}
	if m != nil {
		manifestRows(row, m)
	} else {
		row("started", "%s", timeText(info.Started))
		row("last seen", "%s", timeText(info.Seen))
		row("stored so far", "%d events in %d parts, %s (the rest is on the bus)", info.Events, info.Parts, bytesText(info.Bytes))
	}
	if rec.in.store != nil {
		if err := lateRows(ctx, row, lib, info.Session); err != nil {
			return err
		}
	}
	return w.Flush()
}

// lateRows lists what is kept beside a recording.
func lateRows(ctx context.Context, row func(string, string, ...any), lib *recording.Library, sid string) error {
	const most = 20
	n := 0
	for late, err := range lib.Late(ctx, sid) {
		if err != nil {
			return err
		}
		if n++; n <= most {
			row("late", "%s (%s, %s)", late.Key, bytesText(late.Size), timeText(late.Stored))
		}
	}
	if n > most {
		row("late", "and %d more", n-most)
	}
	return nil
}

func manifestRows(row func(string, string, ...any), m *slicefmt.Manifest) {
	md := m.Metadata
	for _, r := range []struct{ name, value string }{
		{"kind", md.Kind}, {"user", md.User}, {"login", md.Login}, {"host", md.Hostname}, {"client", md.Addr},
		{"cluster", md.Cluster}, {"command", strings.Join(md.Command, " ")}, {"with", strings.Join(md.Participants, ", ")}, {"reason", md.Reason},
		{"terminal", md.Size},
	} {
		if r.value != "" {
			row(r.name, "%s", clean(r.value))
		}
	}
	row("started", "%s", timeText(md.Start))
	row("ended", "%s (%s)", timeText(md.End), durationText(md.End.Sub(md.Start)))
	row("events", "%d of %d, %d missing, %d duplicates left out", m.Events, m.Count, m.Missing, m.Duplicates)
	for _, g := range m.Gaps {
		row("gap", "events %d to %d", g.From, g.To-1)
	}
	if m.Key == "" {
		return
	}
	row("recording", "%s, %s (%s uncompressed)", m.Key, bytesText(m.Bytes), bytesText(m.RawBytes))
	for _, p := range m.Parts {
		row("part "+strconv.Itoa(p.Number), "%s at %d, events %d to %d, %s to %s", bytesText(p.Bytes), p.Offset, p.FirstIndex, p.LastIndex,
			timeText(p.FirstEvent), timeText(p.LastEvent))
	}
}

func writeManifest(w io.Writer, m *slicefmt.Manifest) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// file shows a recording in a file, which has to be read for that.
func (c *showCommand) file(ctx context.Context, s Streams, rec *opened) error {
	m, _ := rec.Manifest()
	if c.Format == "json" && m != nil {
		return writeManifest(s.Out, m)
	}
	bar := newProgress(s.Err, "reading", rec.Size(), false)
	rec.OnRead(func(n int) { bar.add(int64(n)) })
	var first, last time.Time
	var readErr error
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil {
			readErr = err
			break
		}
		if last = r.Time(); first.IsZero() {
			first = last
		}
	}
	bar.done()
	n := rec.Counts()
	if c.Format == "json" {
		err := json.NewEncoder(s.Out).Encode(map[string]any{"file": rec.Name(), "bytes": rec.Size(), "started": first, "ended": last,
			"records": n.Records, "parts": n.Parts, "duplicates": n.Duplicates, "gaps": n.Gaps, "missing": n.Missing, "unknown": n.Unknown})
		return errors.Join(err, damage(readErr))
	}
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("file", "%s, %s", clean(rec.Name()), bytesText(rec.Size()))
	if m != nil {
		manifestRows(row, m)
	} else {
		row("started", "%s", timeText(first))
		row("ended", "%s (%s)", timeText(last), durationText(last.Sub(first)))
		row("events", "%d in %d parts, %d duplicates, %d gaps (%d missing), %d of unknown kinds", n.Records, n.Parts, n.Duplicates, n.Gaps, n.Missing, n.Unknown)
	}
	return errors.Join(w.Flush(), damage(readErr))
}

// damage gives an error of reading the exit status that verify has for it.
func damage(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, slicefmt.ErrTruncated):
		return withStatus(exitTruncated, err)
	case errors.Is(err, slicefmt.ErrCorrupt):
		return withStatus(exitCorrupt, err)
	}
	return err
}
