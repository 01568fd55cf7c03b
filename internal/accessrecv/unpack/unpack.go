// Package unpack takes a batch of access records out of what somebody sent, in
// bounded memory. The forms are a JSON array of records, the same in zlib, and the
// field's envelope, {"type":"newt/access-log","data":{"compressed":"<base64>"}}.
//
// A batch is inflated once to nowhere, to see that it ends within the limit and
// has the right checksum, before any record of it is looked at.
package unpack

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// ErrEncoding says that the Content-Encoding is one that is not known.
var ErrEncoding = errors.New("unknown encoding")

// A message is the field's envelope. The id of the batch is our addition, for
// senders that have no headers.
type message struct {
	Type string `json:"type"`
	Data *struct {
		Compressed string `json:"compressed"`
		Batch      string `json:"batch"`
	} `json:"data"`
}

// A Batch is what came, without its envelope and not yet looked into.
type Batch struct {
	ID    string // that the envelope has, empty if none
	z     []byte // zlib, if it is not nil
	plain []byte // a JSON array, else
}

// Open takes the envelope off. encoding is the Content-Encoding of HTTP, none or
// "deflate" (zlib), and is for arrays only: what inflates inflates once. The batch
// may keep b. The limits must all be set. Errors wrap [ErrEncoding],
// accesslog.ErrTooLarge or accesslog.ErrCorrupt.
func Open(b []byte, encoding string, l accesslog.Limits) (Batch, error) {
	if len(b) > l.Encoded {
		return Batch{}, fmt.Errorf("read batch: %w: %d bytes, limit %d", accesslog.ErrTooLarge, len(b), l.Encoded)
	}
	switch encoding {
	case "", "identity":
	case "deflate":
		return Batch{z: b}, nil
	default:
		return Batch{}, fmt.Errorf("read batch: %w: Content-Encoding %.40q, want none or deflate", ErrEncoding, encoding)
	}
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return Batch{}, fmt.Errorf("read batch: %w: it is empty", accesslog.ErrCorrupt)
	case trimmed[0] == '[':
		return Batch{plain: b}, nil
	case trimmed[0] != '{':
		return Batch{}, fmt.Errorf("read batch: %w: it begins with %.10q, want a JSON array of records or an envelope {\"type\":%q,…}",
			accesslog.ErrCorrupt, trimmed[:min(len(trimmed), 10)], accesslog.EnvelopeType)
	}
	return openEnvelope(b)
}

func openEnvelope(b []byte) (Batch, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return Batch{}, fmt.Errorf("read envelope (%d bytes): %w: %w", len(b), accesslog.ErrCorrupt, err)
	}
	if m.Type != accesslog.EnvelopeType {
		return Batch{}, fmt.Errorf("read envelope: %w: type %.40q, want %q", accesslog.ErrCorrupt, m.Type, accesslog.EnvelopeType)
	}
	if m.Data == nil || m.Data.Compressed == "" {
		return Batch{}, fmt.Errorf("read envelope: %w: no data.compressed in it", accesslog.ErrCorrupt)
	}
	z, err := base64.StdEncoding.DecodeString(m.Data.Compressed)
	if err != nil {
		return Batch{}, fmt.Errorf("read envelope: %w: data.compressed (%d bytes): %w", accesslog.ErrCorrupt, len(m.Data.Compressed), err)
	}
	return Batch{ID: m.Data.Batch, z: z}, nil
}

// Records reads the batch. When records of it are bad, or when JSON breaks off in
// it, the good ones come with the error (accesslog.ErrRecords, ErrCorrupt, or
// both). When it is over a limit (ErrTooLarge), or its transport is damaged
// (ErrCorrupt), none do.
func (b *Batch) Records(l accesslog.Limits) ([]accesslog.Record, error) {
	var src io.Reader = bytes.NewReader(b.plain)
	if b.z != nil {
		if err := checkInflates(b.z, l.Inflated); err != nil {
			return nil, err
		}
		zr, err := zlib.NewReader(bytes.NewReader(b.z))
		if err != nil {
			return nil, fmt.Errorf("inflate batch: %w", err) // it could be read a moment ago
		}
		src = zr
	}
	recs, err := accesslog.ReadRecords(src, l)
	if errors.Is(err, accesslog.ErrTooLarge) {
		recs = nil
	}
	return recs, err
}

// checkInflates inflates to nowhere: it ends within the limit and its checksum is
// right, or that is the error.
func checkInflates(z []byte, limit int) error {
	src := bytes.NewReader(z)
	zr, err := zlib.NewReader(src)
	if err != nil {
		return fmt.Errorf("inflate batch (%d bytes): %w: %w", len(z), accesslog.ErrCorrupt, err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(zr, int64(limit)+1))
	switch {
	case n > int64(limit):
		return fmt.Errorf("inflate batch (%d bytes): %w: it inflates to more than %d bytes", len(z), accesslog.ErrTooLarge, limit)
	case err != nil:
		return fmt.Errorf("inflate batch (%d bytes): %w: after %d bytes of JSON: %w", len(z), accesslog.ErrCorrupt, n, err)
	case src.Len() > 0:
		return fmt.Errorf("inflate batch (%d bytes): %w: %d bytes after its end", len(z), accesslog.ErrCorrupt, src.Len())
	}
	return nil
}
