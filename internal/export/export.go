// Package export writes the records of a recording in the formats of other
// tools: asciicast v2 and v3, the plain text of the terminal's output, JSON
// lines of events, and a recording again.
//
// Everything streams; memory does not depend on the recording's length. When
// the records end with an error, what came before it is written and the error
// returned.
//
// # Times
//
// Time zero of an asciicast is the time of session.start, and its header's
// timestamp is that time in whole seconds. An asciicast that was imported comes
// back with its times, to a millisecond: that is what events keep. See
// [cast.Decoder] for what is made of delays and times.
package export

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// The formats.
const (
	Cast2     = "cast2"     // asciicast v2
	Cast3     = "cast3"     // asciicast v3
	Text      = "text"      // the terminal's output, byte for byte
	JSON      = "json"      // one event a line
	Recording = "recording" // parts, as in S3

	// Pictures and films, which package video makes.
	PNG = "png"
	GIF = "gif"
	MP4 = "mp4"
)

// Options say what is written.
type Options struct {
	Format   string `enum:"cast2,cast3,text,json,recording,png,gif,mp4" default:"cast2" help:"asciicast v2 or v3, the terminal's output as text, events as JSON lines, a recording, a picture (--at), or a film (${enum})."`
	WithData bool   `help:"With json: the terminal's output too (base64), so that it can be imported again."`
}

// A Summary says what was written and what could not be.
type Summary struct {
	Records  int64 // read
	Replaced int64 // bytes of output that are no UTF-8, written as U+FFFD (cast2, cast3)
	Resizes  int64 // resize events without a usable size, left out (cast2, cast3)
}

// Write writes records to w. The format recording writes them into new parts of
// 5 MiB, which is another division than that of a stored recording; whoever has
// the stored bytes copies those. It refuses the recording of a desktop for
// cast2, cast3 and text with an error that wraps [cast.ErrDesktop].
func Write(w io.Writer, records iter.Seq2[slicefmt.Record, error], o Options) (Summary, error) {
	var out writer
	switch o.Format {
	case Cast2, Cast3:
		out = &castWriter{w: w, version: map[string]int{Cast2: 2, Cast3: 3}[o.Format]}
	case Text:
		out = &textWriter{w: newBuffer(w)}
	case JSON:
		out = &jsonWriter{w: newBuffer(w), opts: events.JSONOptions{WithData: o.WithData}}
	case Recording:
		out = &partWriter{w: w}
	default:
		return Summary{}, fmt.Errorf("export as %q: not one of cast2, cast3, text, json, recording", o.Format)
	}
	sum, err := copyTo(out, records)
	if err != nil {
		err = fmt.Errorf("export as %s: %w", o.Format, explain(err))
	}
	return sum, err
}

// A writer writes records in one format.
type writer interface {
	write(slicefmt.Record) error
	// close writes what is left.
	close(*Summary) error
}

func copyTo(out writer, records iter.Seq2[slicefmt.Record, error]) (sum Summary, err error) {
	for rec, rerr := range records {
		if err = rerr; err == nil {
			sum.Records++
			err = out.write(rec)
		}
		if err != nil {
			break
		}
	}
	if cerr := out.close(&sum); err == nil {
		err = cerr
	}
	return sum, err
}

// explain says what to do about an error.
func explain(err error) error {
	if errors.Is(err, cast.ErrDesktop) {
		return fmt.Errorf("%w (json, recording, png, gif and mp4 can hold it)", err)
	}
	return err
}
