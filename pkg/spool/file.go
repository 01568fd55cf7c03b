package spool

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// Version of the files that this package writes.
const Version = 1

// A Header says whose file it is.
type Header struct {
	V       int       `json:"v"`
	Node    string    `json:"node"`
	SID     string    `json:"sid"`
	First   int64     `json:"first"`          // index of the first event
	Note    string    `json:"note,omitempty"` // how the session stood before it, in the writer's own terms
	Created time.Time `json:"created"`
}

// Kinds of record.
const (
	kindHeader  = 'H'
	kindEvent   = 'E'
	kindEnd     = 'X'
	kindRefused = 'R'
)

const (
	frameSize  = 8       // length and checksum
	eventSize  = 8 + 4   // index and length
	maxPayload = 1 << 20 // of a record; more events make more records
	maxReason  = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A File is one session's. Its methods may be called from several goroutines;
// one Reader and one writer do not wait for each other.
type File struct {
	d      *Dir
	name   string
	header Header

	mu      sync.Mutex
	f       *os.File
	size    int64 // of what is accepted
	next    int64
	events  int64
	ended   bool
	refused string
	torn    int64 // bytes of a half-written end that were taken away
	err     error // no more can be written
}

// Create makes the file of a session, open and locked. There must be none yet.
func (d *Dir) Create(h Header) (*File, error) {
	h.V, h.Created = Version, time.Now().UTC()
	payload, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("create spool file: %w", err)
	}
	frame := appendFrame(nil, kindHeader, payload)
	if err := d.reserve(int64(len(frame))); err != nil {
		return nil, fmt.Errorf("spool session %s: %w", h.SID, err)
	}
	f := &File{d: d, name: NameOf(h.Node, h.SID), header: h, next: h.First}
	if f.f, err = os.OpenFile(d.file(f.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		d.release(int64(len(frame)))
		return nil, fmt.Errorf("spool session %s: %w", h.SID, err)
	}
	for range 5 { // somebody may be looking at it just now
		if err = lock(f.f); !errors.Is(err, ErrInUse) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err == nil {
		err = f.write(frame)
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		d.release(int64(len(frame)))
		_ = f.f.Close()
		_ = os.Remove(d.file(f.name))
		return nil, fmt.Errorf("spool session %s: %w", h.SID, err)
	}
	return f, nil
}

// Open opens a file that an earlier process left, and locks it. A half-written
// end is taken away. Errors: ErrInUse, ErrDamaged, ErrVersion.
func (d *Dir) Open(name string) (*File, error) {
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("open spool file %s: %w", d.file(name), err)
	}
	return f, nil
}

func (d *Dir) open(name string, mode int) (*File, error) {
	f := &File{d: d, name: name}
	var err error
	if f.f, err = os.OpenFile(d.file(name), mode, 0); err != nil {
		return nil, err
	}
	if mode == os.O_RDWR {
		err = f.claim()
	}
	if err == nil {
		err = f.scan()
	}
	if err == nil && f.torn > 0 && mode == os.O_RDWR {
		if err = f.f.Truncate(f.size); err == nil {
			err = f.f.Sync()
		}
	}
	if err != nil {
		_ = f.f.Close()
		return nil, err
	}
	return f, nil
}

// claim locks the file, unless it is gone or was made just now.
func (f *File) claim() error {
	if err := lock(f.f); err != nil {
		return err
	}
	have, err := f.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(f.d.file(f.name))
	switch {
	case err != nil:
		return err
	case !os.SameFile(have, named):
		return os.ErrNotExist
	case have.Size() == 0 && time.Since(have.ModTime()) < time.Minute:
		return ErrInUse // its process has not come to the lock
	}
	return nil
}

// scan reads the file through and learns where it stands.
func (f *File) scan() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	r := &frameReader{r: bufio.NewReaderSize(io.NewSectionReader(f.f, 0, info.Size()), 64<<10)}
	for {
		kind, payload, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if at := f.goodAfter(r.at, info.Size()); at >= 0 {
				return fmt.Errorf("%w at byte %d of %d (there is a good record at %d): %w", ErrDamaged, r.at, info.Size(), at, err)
			}
			f.torn = info.Size() - r.at
			break
		}
		if err := f.see(kind, payload); err != nil {
			return fmt.Errorf("record at byte %d: %w", r.start, err)
		}
	}
	f.size = r.at
	if f.size == 0 {
		return fmt.Errorf("%w: it has no header", ErrDamaged)
	}
	return nil
}

// goodAfter looks for a good record behind a bad one, which is then no end of a
// write that a crash cut short: those are whole records, one a write. -1: none.
func (f *File) goodAfter(bad, size int64) int64 {
	b := make([]byte, min(size-bad, 2*(maxPayload+frameSize)))
	n, _ := f.f.ReadAt(b, bad) // what cannot be read is not good
	b = b[:n]
	for i := 1; i+frameSize < len(b); i++ {
		n := int(binary.BigEndian.Uint32(b[i:]))
		if n < 1 || n > maxPayload || i+frameSize+n > len(b) {
			continue
		}
		if sum(b[i:i+4], b[i+frameSize:i+frameSize+n]) == binary.BigEndian.Uint32(b[i+4:]) {
			return bad + int64(i)
		}
	}
	return -1
}

// see takes in one record.
func (f *File) see(kind byte, payload []byte) error {
	if f.header.V == 0 && kind != kindHeader {
		return fmt.Errorf("%w: record %q in the wrong place", ErrDamaged, kind)
	}
	switch kind {
	case kindHeader:
		var h Header
		if err := json.Unmarshal(payload, &h); err != nil {
			return fmt.Errorf("%w: header: %w", ErrDamaged, err)
		}
		if h.V != Version {
			return fmt.Errorf("%w: %d, this program knows %d", ErrVersion, h.V, Version)
		}
		if f.header.V == 0 {
			f.header, f.next = h, h.First
		}
	case kindEvent:
		if f.ended {
			return fmt.Errorf("%w: events behind the end", ErrDamaged)
		}
		for len(payload) > 0 {
			e, rest, err := nextEvent(payload)
			if err != nil {
				return err
			}
			f.next, payload = e.Index+1, rest
			f.events++
		}
	case kindEnd:
		f.ended = true
	case kindRefused:
		f.refused = string(payload)
	default:
		return fmt.Errorf("%w: record %q is not known", ErrDamaged, kind)
	}
	return nil
}

// An Event is one event.
type Event struct {
	Index int64
	OneOf []byte

	// Note, when it is read, is the note of the header that the event comes
	// right behind; nil for most.
	Note *string
}

// Renew says that what follows begins at another place than behind what is in
// the file: at event first, before which the session stood as note says.
func (f *File) Renew(first int64, note string) error {
	h := f.header
	h.First, h.Note = first, note
	payload, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("renew spool of session %s: %w", f.header.SID, err)
	}
	return f.mark(kindHeader, payload, func() {})
}

// Append adds events, and returns when they are on disk. It keeps nothing of
// them. Up to 1 MiB of them are added all or not at all. ErrFull leaves the file
// as it was; after another error nothing more can be written, and what was
// accepted before can be read.
func (f *File) Append(evs ...Event) error {
	for len(evs) > 0 {
		var payload []byte
		n := 0
		for ; n < len(evs) && (n == 0 || len(payload)+eventSize+len(evs[n].OneOf) < maxPayload); n++ {
			e := evs[n]
			if len(e.OneOf) > events.MaxOneOf {
				return fmt.Errorf("spool event %d: %d bytes are over %d", e.Index, len(e.OneOf), events.MaxOneOf)
			}
			payload = binary.BigEndian.AppendUint64(payload, uint64(e.Index))
			payload = binary.BigEndian.AppendUint32(payload, uint32(len(e.OneOf)))
			payload = append(payload, e.OneOf...)
		}
		if err := f.append(payload, n, evs[n-1].Index+1); err != nil {
			return fmt.Errorf("spool event %d of session %s: %w", evs[0].Index, f.header.SID, err)
		}
		evs = evs[n:]
	}
	return nil
}

func (f *File) append(payload []byte, n int, next int64) error {
	frame := appendFrame(nil, kindEvent, payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.ended {
		return errors.New("the session has ended")
	}
	if err := f.d.reserve(int64(len(frame))); err != nil {
		return err
	}
	if err := f.write(frame); err != nil {
		f.d.release(int64(len(frame)))
		return err
	}
	f.next = next
	f.events += int64(n)
	return nil
}

// End says that the session is over with what was appended. It needs no room.
func (f *File) End() error { return f.mark(kindEnd, nil, func() { f.ended = true }) }

// Refuse says that the bus will never take the session, and why. The file stays
// until a person has looked at it.
func (f *File) Refuse(why string) error {
	return f.mark(kindRefused, []byte(why[:min(len(why), maxReason)]), func() { f.refused = why })
}

func (f *File) mark(kind byte, payload []byte, then func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if err := f.write(appendFrame(nil, kind, payload)); err != nil {
		return fmt.Errorf("mark spool of session %s: %w", f.header.SID, err)
	}
	then()
	return nil
}

// write adds b behind what is accepted, and syncs. What a failed write left is
// taken away; if even that fails, or the sync, nobody knows what the disk has.
func (f *File) write(b []byte) error {
	_, err := f.f.WriteAt(b, f.size)
	if err != nil {
		if terr := f.f.Truncate(f.size); terr != nil {
			f.err = errors.Join(err, terr)
		}
		return err
	}
	if err := f.f.Sync(); err != nil {
		f.err = err
		_ = f.f.Truncate(f.size) // if it can be: nobody was told that this is accepted
		return err
	}
	f.size += int64(len(b))
	return nil
}

// Path is where the file is.
func (f *File) Path() string { return f.d.file(f.name) }

// Close lets go of the file, which stays.
func (f *File) Close() error { return f.f.Close() }

// Remove takes the file away: the bus has all of it.
func (f *File) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.f.Close()
	f.err = os.ErrClosed
	if err := os.Remove(f.d.file(f.name)); err != nil {
		return fmt.Errorf("remove spool file: %w", err)
	}
	f.d.release(f.size)
	// A crash may bring the name back: then it is sent again, and the bus has it.
	return nil
}

func appendFrame(b []byte, kind byte, payload []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(payload)))
	b = append(b, 0, 0, 0, 0, kind)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[at+4:], sum(b[at:at+4], b[at+frameSize:]))
	return b
}

func sum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// nextEvent takes the first event off an E record.
func nextEvent(b []byte) (e Event, rest []byte, err error) {
	if len(b) < eventSize {
		return e, nil, fmt.Errorf("%w: event of %d bytes", ErrDamaged, len(b))
	}
	n := int(binary.BigEndian.Uint32(b[8:]))
	if n > len(b)-eventSize {
		return e, nil, fmt.Errorf("%w: event of %d bytes in %d", ErrDamaged, n, len(b)-eventSize)
	}
	return Event{Index: int64(binary.BigEndian.Uint64(b)), OneOf: b[eventSize : eventSize+n]}, b[eventSize+n:], nil
}
