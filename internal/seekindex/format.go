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

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

// The header, in front of everything. docs/index.md has it field by field.
const (
	magic      = "TDSEEK\r\n"
	headerSize = 92
	entrySize  = 52
	crcFrom    = 16 // what is behind the header's checksum is in it
)

// What a reader takes at most, compressed and not, and so what is written.
const (
	maxSummary  = 8 << 20
	maxPicture  = 64 << 20
	maxDirBytes = maxKeyframes * entrySize
	maxPacked   = 1024 // more than that, where something does not compress
)

// A header says where the rest is.
type header struct {
	summary, directory int64              // compressed bytes of the sections behind the header
	pictures           int64              // bytes of all pictures, which follow
	transcript         int64              // compressed bytes of the transcript, which is last
	events             int64              // the recording had
	recording          recording.Identity // that this is the index of
	crc                uint32             // of the front, behind this number
	transcriptCRC      uint32
}

func (h header) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, Version)
	b = binary.BigEndian.AppendUint32(b, h.crc)
	for _, v := range []int64{h.summary, h.directory, h.pictures, h.transcript, h.events} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	b = append(b, h.recording[:]...)
	return binary.BigEndian.AppendUint32(b, h.transcriptCRC)
}

func parseHeader(b []byte) (header, error) {
	if len(b) < crcFrom || string(b[:len(magic)]) != magic {
		return header{}, fmt.Errorf("%w: it does not begin as one", ErrCorrupt)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != Version {
		return header{}, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, v, Version)
	}
	if len(b) < headerSize {
		return header{}, fmt.Errorf("%w: it ends after %d bytes", ErrCorrupt, len(b))
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[16+8*i:]) & (1<<63 - 1)) }
	h := header{crc: binary.BigEndian.Uint32(b[12:]), summary: at(0), directory: at(1), pictures: at(2), transcript: at(3), events: at(4),
		recording: recording.Identity(b[56:88]), transcriptCRC: binary.BigEndian.Uint32(b[88:])}
	if h.summary > maxSummary+maxPacked || h.directory > maxDirBytes+maxPacked || h.pictures > 1<<50 || h.transcript > 2*maxTranscript {
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
	crc    uint32        // of the picture as it is stored

	desktop bool // it is of one; not stored
}

func (e entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.offset))
	b = binary.BigEndian.AppendUint32(b, uint32(e.bytes))
	b = binary.BigEndian.AppendUint16(b, uint16(e.cols))
	b = binary.BigEndian.AppendUint16(b, uint16(e.rows))
	for _, v := range []int64{e.tms, e.index, int64(e.last), e.lastAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return binary.BigEndian.AppendUint32(b, e.crc)
}

func parseEntry(b []byte) entry {
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	return entry{offset: at(0), bytes: int64(binary.BigEndian.Uint32(b[8:])), cols: int(binary.BigEndian.Uint16(b[12:])),
		rows: int(binary.BigEndian.Uint16(b[14:])), tms: at(16), index: at(24), last: time.Duration(at(32)), lastAt: at(40), crc: binary.BigEndian.Uint32(b[48:])}
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
	// DamagedAt is the index of the first event that could not be read.
	DamagedAt *int64 `json:"damaged_at,omitempty"`
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
	if len(text) > maxSummary || len(packedText) > maxSummary+maxPacked || len(raw) > maxDirBytes || len(packedDir) > maxDirBytes+maxPacked {
		return nil, fmt.Errorf("a timeline of %d bytes and %d pictures are more than an index holds", len(text), len(dir))
	}
	h.summary, h.directory = int64(len(packedText)), int64(len(packedDir))
	front := append(append(h.append(nil), packedText...), packedDir...)
	binary.BigEndian.PutUint32(front[crcFrom-4:], crc32.ChecksumIEEE(front[crcFrom:]))
	return front, nil
}

// decodeFront reads what encodeFront made; h is what parseHeader made of it.
func decodeFront(h header, front []byte) (summary, []entry, error) {
	var s summary
	if crc32.ChecksumIEEE(front[crcFrom:]) != h.crc {
		return s, nil, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	b := front[headerSize:]
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
		if e.offset < 0 || e.offset > h.pictures-e.bytes || e.bytes > maxPicture {
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

// packPicture is a terminal's picture as it is stored; nil if it is more than a reader
// takes, packed or not.
func packPicture(b []byte) []byte {
	if len(b) > maxPicture {
		return nil
	}
	if packed := pack(b); len(packed) <= maxPicture {
		return packed
	}
	return nil
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
