package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

func (j *job) importCast(ctx context.Context) error {
	r, err := cast.NewReader(j.in)
	if errors.Is(err, io.EOF) {
		err = errEmpty
	}
	if err != nil {
		return where(j.name, err)
	}
	err = j.importTerminal(ctx, j.name, r)
	if n := r.Backward(); n > 0 {
		j.say("%d events had a time before the event in front of them, and were given its time", n)
	}
	return err
}

func (j *job) importTypescript(ctx context.Context) error {
	if j.cmd.Timing == "" {
		return fmt.Errorf("%s: %w", j.name, errNoTiming)
	}
	timing, err := os.Open(j.cmd.Timing)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer func() { _ = timing.Close() }()
	t, err := cast.NewTypescript(j.in, timing)
	if err != nil {
		return whereTiming(j.name, j.cmd.Timing, err)
	}
	return j.importTerminal(ctx, j.cmd.Timing, t)
}

// whereTiming names the file that an error is about: lines are the timing
// file's.
func whereTiming(name, timing string, err error) error {
	if errors.As(err, new(*cast.LineError)) {
		name = timing
	}
	return where(name, err)
}

// where puts file and line in front of an error.
func where(name string, err error) error {
	var line *cast.LineError
	if errors.As(err, &line) {
		return fmt.Errorf("%s:%d: %w", name, line.Line, line.Err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// A terminal session being published from a source.
type terminal struct {
	s     *recorder.Session
	start time.Time
	last  time.Time
	left  map[string]int64 // left out, by code
	spec  recorder.Spec
}

// importTerminal publishes a source as a new session. Errors of lines are about
// the file named lines.
func (j *job) importTerminal(ctx context.Context, lines string, src cast.Source) error {
	rec, err := recorder.New(j.conn, j.layout, recorder.Options{Node: j.node(), Cluster: j.cmd.Cluster,
		Meter: j.deps.Meter, Tracer: j.deps.Tracer})
	if err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	spec := j.spec(src.Header())
	s, err := rec.Start(ctx, spec)
	if err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	fmt.Fprintln(j.deps.Stdout, s.ID())
	t := &terminal{s: s, start: spec.Started, last: spec.Started, spec: spec, left: map[string]int64{}}
	err = t.copyFrom(ctx, src)
	if err != nil {
		err = where(lines, err)
	}
	if s.Err() != nil { // the bus takes no more of it
		return errors.Join(err, s.Close(ctx))
	}
	ending, cancel := ctx, context.CancelFunc(func() {})
	if err != nil {
		ending, cancel = j.ending(ctx)
	}
	defer cancel()
	if endErr := t.end(ending); endErr != nil {
		return errors.Join(err, fmt.Errorf("%s: %w (session %s is not ended)", j.name, endErr, s.ID()))
	}
	j.say("imported %d events as session %s%s", s.Next(), s.ID(), leftOut(t.left))
	return err
}

// spec says what the session is.
func (j *job) spec(h cast.Header) recorder.Spec {
	spec := recorder.LoadSpec(nil)
	spec.RemoteAddr, spec.LocalAddr, spec.ServerAddr, spec.Protocol = "", "", "", "local" // of this process, not of the session
	spec.ID, spec.Cluster = j.cmd.Session, j.cmd.Cluster
	spec.Width, spec.Height = h.Width, h.Height
	spec.Started = h.Start
	if spec.Started.IsZero() {
		spec.Started = j.cmd.Start.Time
	}
	if spec.Started.IsZero() {
		spec.Started = j.mtime
	}
	spec.Started = spec.Started.UTC().Round(time.Millisecond)
	if h.Command != "" {
		spec.InitialCommand = []string{h.Command}
	}
	for _, set := range []struct {
		to    *string
		value string
	}{{&spec.User, j.cmd.User}, {&spec.Login, j.cmd.Login}, {&spec.ServerHostname, j.cmd.Host}} {
		if set.value != "" {
			*set.to = set.value
		}
	}
	return spec
}

// copyFrom publishes the source's events.
func (t *terminal) copyFrom(ctx context.Context, src cast.Source) error {
	for {
		e, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = t.publish(ctx, e)
		}
		if err != nil {
			return err
		}
	}
}

func (t *terminal) publish(ctx context.Context, e cast.Event) error {
	// Rounded as a whole, so that delays, which count from the first print, are
	// differences of the same rounded times and export gives those again.
	t.last = t.start.Add(e.Time.Round(time.Millisecond))
	switch e.Code {
	case cast.Output:
		return t.print(ctx, e.Data)
	case cast.Resize:
		w, h, err := cast.ParseSize(string(e.Data), 'x')
		if err != nil {
			return &cast.LineError{Line: e.Line, Err: err}
		}
		return t.s.Emit(ctx, &events.Resize{Metadata: t.metadata(), TerminalSize: cast.FormatSize(w, h, ':')})
	}
	t.left[e.Code]++
	return nil
}

func (t *terminal) metadata() *events.Metadata {
	return &events.Metadata{Time: timestamppb.New(t.last)}
}

// print publishes output in prints of at most events.MaxPrintData bytes, cut
// between characters where that can be.
func (t *terminal) print(ctx context.Context, data []byte) error {
	for len(data) > 0 {
		n := cut(data)
		if err := t.s.Emit(ctx, &events.SessionPrint{Metadata: t.metadata(), Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// cut is how much of data goes into its first print.
func cut(data []byte) int {
	n := min(len(data), events.MaxPrintData)
	for back := 0; n < len(data) && back < utf8.UTFMax; back++ {
		if utf8.RuneStart(data[n-back]) {
			return n - back
		}
	}
	return n
}

// end publishes the session's end, at the time of its last event.
func (t *terminal) end(ctx context.Context) error {
	err := t.s.Emit(ctx, &events.SessionEnd{
		Metadata: t.metadata(), Interactive: true, Participants: []string{t.spec.User},
		StartTime: timestamppb.New(t.start), EndTime: timestamppb.New(t.last),
		InitialCommand: t.spec.InitialCommand, SessionRecording: "node",
	})
	if err != nil {
		return err
	}
	return t.s.End(ctx)
}

// leftOut says how many events have no place in a session.
func leftOut(left map[string]int64) string {
	names := map[string]string{cast.Input: "input", cast.Marker: "marker", cast.Exit: "exit"}
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(left)) {
		name, ok := names[code]
		if !ok {
			name = fmt.Sprintf("%q", code)
		}
		parts = append(parts, fmt.Sprintf("%d %s", left[code], name))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; left out " + strings.Join(parts, ", ") + " events, which a session does not have"
}
