package accesslog

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zlib"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A Batch is what a sink gets in one piece.
type Batch struct {
	ID      string    // the same whenever the batch is sent again, and no other's
	Hour    time.Time // UTC, a whole hour: when the bus got the records
	Records int

	// body is a JSON array of records, a Parquet file or a notification.
	body []byte

	once     sync.Once
	deflated []byte
}

// Body is a JSON array of records, a Parquet file, or a notification as it was
// on the bus. It must not be changed.
func (b *Batch) Body() []byte { return b.body }

// Deflated is the body in zlib's format, level 9. It is made once, however often
// the batch is sent.
func (b *Batch) Deflated() []byte {
	b.once.Do(func() { b.deflated = deflate(b.body) })
	return b.deflated
}

// Envelope is the batch as the field's clients send it.
func (b *Batch) Envelope() []byte {
	out := append([]byte(`{"type":"`+accesslog.EnvelopeType+`","data":{"compressed":"`), base64.StdEncoding.AppendEncode(nil, b.Deflated())...)
	return append(out, `"}}`...)
}

var deflaters = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(nil, zlib.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// deflate needs no error: nothing fails that writes to memory.
func deflate(b []byte) []byte {
	var buf bytes.Buffer
	w := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(w)
	w.Reset(&buf)
	_, _ = w.Write(b)
	_ = w.Close()
	return buf.Bytes()
}

// An item is one record, or one notification.
type item struct {
	rec  accesslog.Record // of a record
	json []byte           // as it goes into a batch; nil in a Parquet lane
	id   string           // of a notification; names its batch
}

// A builder gathers items into the body of a batch.
type builder interface {
	// full says whether the body is to be closed before it gets it, or, without
	// an item, before it gets any.
	full(it *item) bool
	add(it *item) error
	count() int
	// finish returns the body and leaves the builder empty, for the next.
	finish() ([]byte, error)
}

// jsonBuilder makes a JSON array.
type jsonBuilder struct {
	records, bytes int // limits
	buf            []byte
	n              int
}

func (b *jsonBuilder) full(it *item) bool {
	return b.n > 0 && (b.n >= b.records || it != nil && len(b.buf)+len(it.json)+2 > b.bytes)
}

func (b *jsonBuilder) add(it *item) error {
	sep := byte(',')
	if b.n == 0 {
		sep = '['
	}
	b.buf = append(append(b.buf, sep), it.json...)
	b.n++
	return nil
}

func (b *jsonBuilder) count() int { return b.n }

func (b *jsonBuilder) finish() ([]byte, error) {
	body := append(b.buf, ']')
	b.buf, b.n = make([]byte, 0, len(body)+len(body)/8), 0
	return body, nil
}

// singleBuilder makes a body of one item, as it is.
type singleBuilder struct{ it *item }

func (b *singleBuilder) full(*item) bool { return b.it != nil }

func (b *singleBuilder) add(it *item) error { b.it = it; return nil }

func (b *singleBuilder) count() int {
	if b.it == nil {
		return 0
	}
	return 1
}

func (b *singleBuilder) finish() ([]byte, error) {
	body := b.it.json
	b.it = nil
	return body, nil
}

// sum tells contents apart.
func sum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:8])
}

func encode(rec *accesslog.Record, field bool) ([]byte, error) {
	if field {
		f := rec.Field()
		rec = &f
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("write record of session %s: %w", rec.SessionID, err)
	}
	return b, nil
}
