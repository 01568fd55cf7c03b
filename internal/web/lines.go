package web

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Cases of OneOf that the player is given in a form of their own.
const (
	casePrint   = 7
	caseResize  = 9
	caseDesktop = 69
)

// A liner makes the lines of terminal output that the player reads of records in
// their order. UTF-8 is never cut in two: the beginning of a sequence waits for
// the record with the rest.
type liner struct {
	clock clock
	carry cast.Carry
	begun bool
	buf   []byte
}

// line appends what a record is to dst, as one JSON array without a line feed, or
// nothing if it shows nothing.
func (l *liner) line(dst []byte, rec slicefmt.Record) ([]byte, error) {
	t := l.clock.at(rec.Time())
	first := !l.begun
	l.begun = true
	switch rec.Case {
	case casePrint:
		one, err := events.Unmarshal(rec.OneOf)
		if err != nil {
			return dst, fmt.Errorf("decode event %d: %w", rec.Index, err)
		}
		data := one.GetSessionPrint().GetData()
		if first && rec.Index > 0 {
			data = tail(data)
		}
		l.buf = l.carry.Next(l.buf[:0], data)
		if len(l.buf) == 0 {
			return dst, nil
		}
		return array(dst, t, rec.Index, "o", l.buf), nil
	case caseResize:
		one, err := events.Unmarshal(rec.OneOf)
		if err != nil {
			return dst, fmt.Errorf("decode event %d: %w", rec.Index, err)
		}
		w, h, err := cast.ParseSize(one.GetResize().GetTerminalSize(), ':')
		if err != nil {
			return dst, nil //nolint:nilerr // a resize without a size shows nothing
		}
		w, h = screen.ClampSize(w, h) // as keyframes have it; a browser's terminal dies of a size from the wire
		return array(dst, t, rec.Index, "r", []byte(cast.FormatSize(w, h, 'x'))), nil
	case caseDesktop:
		return dst, nil
	}
	return array(dst, t, rec.Index, "e", rec.Type), nil
}

// flush appends what waits in vain for the rest of its sequence.
func (l *liner) flush(dst []byte, index int64) []byte {
	if l.buf = l.carry.Flush(l.buf[:0]); len(l.buf) == 0 {
		return dst
	}
	return array(dst, l.clock.last, index, "o", l.buf)
}

// tail is data without the rest of a sequence that began before.
func tail(data []byte) []byte {
	for i := range min(len(data), utf8.UTFMax) {
		if utf8.RuneStart(data[i]) {
			return data[i:]
		}
	}
	return data
}

func array(dst []byte, t, index int64, code string, text []byte) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, t, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, index, 10)
	dst = append(dst, `,"`...)
	dst = append(dst, code...)
	dst = append(dst, `",`...)
	quoted, err := json.Marshal(string(text))
	if err != nil {
		panic(err) // a string can be encoded
	}
	return append(append(dst, quoted...), ']')
}

// eventLine appends an event as flat JSON with its time and index.
func eventLine(dst []byte, t int64, rec slicefmt.Record) ([]byte, error) {
	flat, err := events.MarshalJSON(rec.OneOf, events.JSONOptions{})
	if err != nil {
		return dst, fmt.Errorf("write event %d: %w", rec.Index, err)
	}
	dst = fmt.Appendf(dst, `{"t_ms":%d,"index":%d,"event":`, t, rec.Index)
	return append(append(dst, flat...), '}'), nil
}

// desktopRecord appends a message of a desktop session as the stream of frames has
// it: length of the rest, time, index, message. One in the other protocol's form
// goes without a message.
func desktopRecord(dst []byte, t int64, rec slicefmt.Record) ([]byte, error) {
	one, err := events.Unmarshal(rec.OneOf)
	if err != nil {
		return dst, fmt.Errorf("decode event %d: %w", rec.Index, err)
	}
	msg := one.GetDesktopRecording().GetMessage()
	dst = binary.BigEndian.AppendUint32(dst, uint32(8+len(msg)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(min(t, 1<<32-1)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(rec.Index))
	return append(dst, msg...), nil
}

func base64Line(data []byte) []byte { return base64.StdEncoding.AppendEncode(nil, data) }
