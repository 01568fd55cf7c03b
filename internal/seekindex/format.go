package seekindex

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"
)

// The header, in front of everything. docs/index.md has it field by field.
const (
	magic      = "TDSEEK\r\n"
	headerSize = 64
	entrySize  = 48
)

// What a reader takes at most, compressed and not.
const (
	maxSummary  = 8 << 20
	maxPicture  = 64 << 20
	maxDirBytes = maxKeyframes * entrySize
)

// A header says where the rest is.
type header struct {
	summary, directory int64 // compressed bytes of the sections behind the header
	pictures           int64 // bytes of all pictures, which follow
	transcript         int64 // compressed bytes of the transcript, which is last
	recording          int64 // stored bytes of the recording that this is the index of
	events             int64 // it had
	crc                uint32
}

func (h header) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, Version)
	b = binary.BigEndian.AppendUint32(b, h.crc)
	for _, v := range []int64{h.summary, h.directory, h.pictures, h.transcript, h.recording, h.events} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return header{}, fmt.Errorf("%w: it does not begin as one", ErrCorrupt)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != Version {
		return header{}, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, v, Version)
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[16+8*i:]) & (1<<63 - 1)) }
	h := header{crc: binary.BigEndian.Uint32(b[12:]), summary: at(0), directory: at(1), pictures: at(2), transcript: at(3), recording: at(4), events: at(5)}
	if h.summary > maxSummary || h.directory > maxDirBytes+1024 || h.pictures > 1<<50 || h.transcript > 2*maxTranscript {
		return header{}, fmt.Errorf("%w: sections of %d, %d and %d bytes", ErrCorrupt, h.summary, h.directory, h.transcript)
	}
	return h, nil
}

// front is the size of what is before the pictures.
func (h header) front() int64 { return headerSize + h.summary + h.directory }

// An entry is one picture in the directory.
type entry struct {
	offset int64 // from the first picture
	bytes  int64
	tms    int64
	index  int64
	cols   int
	rows   int
	last   time.Duration // a cast.Clock's Last
	lastAt int64         // its LastAt, in Unix nanoseconds
}

func (e entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.offset))
	b = binary.BigEndian.AppendUint32(b, uint32(e.bytes))
	b = binary.BigEndian.AppendUint16(b, uint16(e.cols))
	b = binary.BigEndian.AppendUint16(b, uint16(e.rows))
	for _, v := range []int64{e.tms, e.index, int64(e.last), e.lastAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func parseEntry(b []byte) entry {
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	return entry{offset: at(0), bytes: int64(binary.BigEndian.Uint32(b[8:])), cols: int(binary.BigEndian.Uint16(b[12:])),
		rows: int(binary.BigEndian.Uint16(b[14:])), tms: at(16), index: at(24), last: time.Duration(at(32)), lastAt: at(40)}
}

// A summary is the timeline but for the keyframes, which the directory has, and
// where the clock of terminal playback began.
type summary struct {
	Timeline
	Origin  time.Time `json:"origin"`
	BaseNS  int64     `json:"base_ns"`
	Printed bool      `json:"printed"`
	// TranscriptToMS is where the transcript ends because it had become too long;
	// 0 if it is whole. TranscriptLines were left out of it before that, where more
	// was printed than anybody reads.
	TranscriptToMS int64 `json:"transcript_to_ms,omitempty"`
	LinesOmitted   int64 `json:"lines_omitted,omitempty"`
}

// encodeFront is the header and the two sections behind it.
func encodeFront(h header, s summary, dir []entry) ([]byte, error) {
	s.Keyframes = nil
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the timeline: %w", err)
	}
	var raw []byte
	for _, e := range dir {
		raw = e.append(raw)
	}
	packedText, packedDir := pack(text), pack(raw)
	h.summary, h.directory = int64(len(packedText)), int64(len(packedDir))
	h.crc = crc32.ChecksumIEEE(append(packedText, packedDir...))
	return append(append(h.append(nil), packedText...), packedDir...), nil
}

func decodeFront(h header, b []byte) (summary, []entry, error) {
	var s summary
	if crc32.ChecksumIEEE(b) != h.crc {
		return s, nil, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	text, err := unpack(b[:h.summary], maxSummary)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, nil, fmt.Errorf("%w: timeline: %w", ErrCorrupt, err)
	}
	raw, err := unpack(b[h.summary:], maxDirBytes)
	if err == nil && len(raw)%entrySize != 0 {
		err = fmt.Errorf("%d bytes", len(raw))
	}
	if err != nil {
		return s, nil, fmt.Errorf("%w: directory: %w", ErrCorrupt, err)
	}
	dir := make([]entry, 0, len(raw)/entrySize)
	for ; len(raw) > 0; raw = raw[entrySize:] {
		e := parseEntry(raw)
		if e.offset < 0 || e.offset+e.bytes > h.pictures || e.bytes > maxPicture {
			return s, nil, fmt.Errorf("%w: a picture of %d bytes at %d of %d", ErrCorrupt, e.bytes, e.offset, h.pictures)
		}
		dir = append(dir, e)
	}
	return s, dir, nil
}

// packers are compressors: a new one costs a megabyte.
var packers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // the level is a good one
	return w
}}

func pack(b []byte) []byte {
	var out bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(b) // a Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

func unpack(b []byte, limit int64) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(b))
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(out)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return out, err
}
