package spool

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A frameReader reads records. What next returns is good until the next call.
type frameReader struct {
	r     *bufio.Reader
	start int64 // of the record that was read last
	at    int64 // behind the last good record
	buf   []byte
}

var (
	errTorn = errors.New("record is cut short")
	errSum  = errors.New("checksum is wrong")
)

// next returns io.EOF bare where the file ends behind a record.
func (r *frameReader) next() (kind byte, payload []byte, err error) {
	var head [frameSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, errTorn
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n < 1 || n > maxPayload {
		return 0, nil, fmt.Errorf("%w: a record of %d bytes", errTorn, n)
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return 0, nil, errTorn
	}
	if sum(head[:4], r.buf) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, errSum
	}
	r.start, r.at = r.at, r.at+frameSize+n
	return r.buf[0], r.buf[1:], nil
}

// A Reader reads a file's events in order, those that are appended while it
// reads included.
type Reader struct {
	f    *File
	at   int64
	left []byte // of the record that was read last
	note *string
}

// NewReader begins with the first event.
func (f *File) NewReader() *Reader { return &Reader{f: f} }

// Next returns the next event, whose OneOf is the caller's, or io.EOF bare when
// there is none, which another call may change.
func (r *Reader) Next() (Event, error) {
	for len(r.left) == 0 {
		r.f.mu.Lock()
		size := r.f.size
		r.f.mu.Unlock()
		if r.at >= size {
			return Event{}, io.EOF
		}
		fr := &frameReader{r: bufio.NewReader(io.NewSectionReader(r.f.f, r.at, size-r.at))}
		kind, payload, err := fr.next()
		if err != nil {
			return Event{}, fmt.Errorf("read spool file %s at byte %d: %w: %w", r.f.d.file(r.f.name), r.at, ErrDamaged, err)
		}
		r.at += fr.at
		switch kind {
		case kindHeader:
			var h Header
			if err := json.Unmarshal(payload, &h); err != nil {
				return Event{}, fmt.Errorf("read spool file %s: %w: %w", r.f.d.file(r.f.name), ErrDamaged, err)
			}
			r.note = &h.Note
		case kindEvent:
			r.left = payload
		}
	}
	e, rest, err := nextEvent(r.left)
	e.Note, r.note, r.left = r.note, nil, rest
	return e, err
}

// An Info says what a file holds.
type Info struct {
	Name    string
	Header  Header
	Events  int64
	Next    int64 // index behind the last event
	Bytes   int64
	Written time.Time
	Ended   bool   // the session is over
	Refused string // why the bus will never take it
	InUse   bool   // its process is running
	Torn    int64  // bytes of a half-written end
}

// Info says what the file holds.
func (f *File) Info() Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Info{
		Name: f.name, Header: f.header, Events: f.events, Next: f.next, Bytes: f.size,
		Ended: f.ended, Refused: f.refused, Torn: f.torn,
	}
}

// Look says what a file holds without taking it from its process.
func (d *Dir) Look(name string) (Info, error) {
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return Info{Name: name}, fmt.Errorf("look into spool file %s: %w", d.file(name), err)
	}
	defer f.Close() //nolint:errcheck // only read
	info := f.Info()
	if stat, err := f.f.Stat(); err == nil {
		info.Written = stat.ModTime()
	}
	info.InUse = errors.Is(lock(f.f), ErrInUse)
	return info, nil
}
