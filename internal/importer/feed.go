package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A feed gives encoded events one by one: io.EOF bare at the end. A *lineError
// of cast names a line.
type feed interface {
	next() ([]byte, error)
	// note says what is to be known about what was read; empty for nothing.
	note() string
}

type recordingFeed struct{ r *slicefmt.Reader }

func newRecordingFeed(in io.Reader) feed { return recordingFeed{slicefmt.NewReader(in)} }

func (f recordingFeed) next() ([]byte, error) {
	rec, err := f.r.Next()
	return rec.OneOf, err
}

func (f recordingFeed) note() string {
	c := f.r.Counts()
	if c.Duplicates == 0 {
		return ""
	}
	return fmt.Sprintf("; skipped %d duplicates", c.Duplicates)
}

type jsonFeed struct {
	lines *cast.Lines
	buf   []byte
}

func newJSONFeed(in *bufio.Reader) feed { return &jsonFeed{lines: cast.NewLines(in)} }

func (f *jsonFeed) next() ([]byte, error) {
	for {
		line, err := f.lines.Next()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if f.buf, err = encode(f.buf[:0], line); err != nil {
			return nil, &cast.LineError{Line: f.lines.Number(), Err: err}
		}
		return f.buf, nil
	}
}

func (f *jsonFeed) note() string { return "" }

// errNoData is a print of JSON lines that were written without data.
var errNoData = errors.New("the print has no data (export with --with-data writes it)")

func encode(dst, line []byte) ([]byte, error) {
	one, err := events.UnmarshalJSON(line)
	if err != nil {
		return dst, err
	}
	if p := one.GetSessionPrint(); p != nil && p.GetBytes() > 0 && len(p.GetData()) == 0 {
		return dst, errNoData
	}
	return events.Append(dst, one)
}
