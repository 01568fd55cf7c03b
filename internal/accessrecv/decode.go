package accessrecv

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

// errEncoding: the transport of the batch is one that is not known.
var errEncoding = errors.New("unknown encoding")

// A message is the field's envelope. The id of the batch is our addition, for
// senders that have no headers.
type message struct {
	Type string `json:"type"`
	Data *struct {
		Compressed string `json:"compressed"`
		Batch      string `json:"batch"`
	} `json:"data"`
}

// A body is what came, not yet looked into: zlib or a JSON array.
type body struct {
	id    string // that the envelope has, empty if none
	z     []byte // zlib, if it is not nil
	plain []byte // a JSON array, else
}

// open takes the envelope off a body. encoding is that of HTTP, none or
// "deflate" (zlib), and is for arrays only: what inflates inflates once.
func open(b []byte, encoding string, l accesslog.Limits) (body, error) {
	if len(b) > l.Encoded {
		return body{}, fmt.Errorf("read batch: %w: %d bytes, limit %d", accesslog.ErrTooLarge, len(b), l.Encoded)
	}
	switch encoding {
	case "", "identity":
	case "deflate":
		return body{z: b}, nil
	default:
		return body{}, fmt.Errorf("read batch: %w: Content-Encoding %.40q, want none or deflate", errEncoding, encoding)
	}
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return body{}, fmt.Errorf("read batch: %w: it is empty", accesslog.ErrCorrupt)
	case trimmed[0] == '[':
		return body{plain: b}, nil
	case trimmed[0] != '{':
		return body{}, fmt.Errorf("read batch: %w: it begins with %.10q, want a JSON array of records or an envelope {\"type\":%q,…}",
			accesslog.ErrCorrupt, trimmed[:min(len(trimmed), 10)], accesslog.EnvelopeType)
	}
	return openEnvelope(b)
}

func openEnvelope(b []byte) (body, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return body{}, fmt.Errorf("read envelope (%d bytes): %w: %w", len(b), accesslog.ErrCorrupt, err)
	}
	if m.Type != accesslog.EnvelopeType {
		return body{}, fmt.Errorf("read envelope: %w: type %.40q, want %q", accesslog.ErrCorrupt, m.Type, accesslog.EnvelopeType)
	}
	if m.Data == nil || m.Data.Compressed == "" {
		return body{}, fmt.Errorf("read envelope: %w: no data.compressed in it", accesslog.ErrCorrupt)
	}
	z, err := base64.StdEncoding.DecodeString(m.Data.Compressed)
	if err != nil {
		return body{}, fmt.Errorf("read envelope: %w: data.compressed (%d bytes): %w", accesslog.ErrCorrupt, len(m.Data.Compressed), err)
	}
	return body{id: m.Data.Batch, z: z}, nil
}

// records reads the batch. When records of it are bad, or when JSON breaks off in
// it, the good ones come with the error. When it is over a limit, or its
// transport is damaged, none do.
func (b *body) records(l accesslog.Limits) ([]accesslog.Record, error) {
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
