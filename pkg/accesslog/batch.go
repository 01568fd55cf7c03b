package accesslog

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Limits bound what a batch from somebody else may cost. Zero fields mean the
// defaults. A batch of ours is 100 records and 256 KiB of JSON at most, the
// field's 500 records.
type Limits struct {
	Encoded  int // bytes as they came, base64 or zlib; default 4 MiB
	Inflated int // bytes of JSON; default 16 MiB
	Records  int // default 20,000
}

func (l Limits) orDefault() Limits {
	if l.Encoded == 0 {
		l.Encoded = 4 << 20
	}
	if l.Inflated == 0 {
		l.Inflated = 16 << 20
	}
	if l.Records == 0 {
		l.Records = 20_000
	}
	return l
}

// DeflateBatch is the records as a JSON array in zlib's format, level 9. The
// same records give the same bytes.
func DeflateBatch(recs []Record) ([]byte, error) {
	plain, err := MarshalRecords(recs)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	zw, err := zlib.NewWriterLevel(&buf, zlib.BestCompression)
	if err == nil {
		_, err = zw.Write(plain)
	}
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("deflate batch of %d records: %w", len(recs), err)
	}
	return buf.Bytes(), nil
}

// InflateBatch reads what DeflateBatch wrote, in memory bounded by the limits.
// Its errors are those of [ParseRecords] and [ErrTooLarge]; with each come the
// good records before.
func InflateBatch(z []byte, l Limits) ([]Record, error) {
	l = l.orDefault()
	if len(z) > l.Encoded {
		return nil, fmt.Errorf("inflate batch: %w: %d bytes, limit %d", ErrTooLarge, len(z), l.Encoded)
	}
	zr, err := zlib.NewReader(bytes.NewReader(z))
	if err != nil {
		return nil, fmt.Errorf("inflate batch (%d bytes): %w: %w", len(z), ErrCorrupt, err)
	}
	return readRecords(&limited{r: zr, left: l.Inflated, limit: l.Inflated}, l.Records)
}

// limited fails when more than limit bytes come, rather than end early.
type limited struct {
	r           io.Reader
	left, limit int
}

func (r *limited) Read(p []byte) (int, error) {
	if len(p) > r.left+1 {
		p = p[:r.left+1]
	}
	n, err := r.r.Read(p)
	if n > r.left {
		return r.left, fmt.Errorf("%w: inflates to more than %d bytes", ErrTooLarge, r.limit)
	}
	r.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return n, err
}

// EncodeBatch is a batch as the field's clients send it: base64 of DeflateBatch.
// Give it [Record.Field] records for a receiver that knows no others.
func EncodeBatch(recs []Record) (string, error) {
	z, err := DeflateBatch(recs)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(z), nil
}

// DecodeBatch reads what EncodeBatch wrote. See [InflateBatch].
func DecodeBatch(s string, l Limits) ([]Record, error) {
	l = l.orDefault()
	if len(s) > l.Encoded {
		return nil, fmt.Errorf("decode batch: %w: %d bytes, limit %d", ErrTooLarge, len(s), l.Encoded)
	}
	z, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode batch (%d bytes): %w: %w", len(s), ErrCorrupt, err)
	}
	return InflateBatch(z, l)
}

// EnvelopeType is the type of the message in which the field's clients send a
// batch.
const EnvelopeType = "newt/access-log"

type envelope struct {
	Type string `json:"type"`
	Data struct {
		Compressed string `json:"compressed"`
	} `json:"data"`
}

// EncodeEnvelope is a batch in the field's envelope, a JSON object.
func EncodeEnvelope(recs []Record) ([]byte, error) {
	e := envelope{Type: EnvelopeType}
	var err error
	if e.Data.Compressed, err = EncodeBatch(recs); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// DecodeEnvelope reads a batch in the field's envelope. See [InflateBatch].
func DecodeEnvelope(b []byte, l Limits) ([]Record, error) {
	l = l.orDefault()
	if limit := l.Encoded + 1024; len(b) > limit {
		return nil, fmt.Errorf("decode envelope: %w: %d bytes, limit %d", ErrTooLarge, len(b), limit)
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decode envelope (%d bytes): %w: %w", len(b), ErrCorrupt, err)
	}
	if e.Type != EnvelopeType {
		return nil, fmt.Errorf("decode envelope: %w: type %.40q, want %q", ErrCorrupt, e.Type, EnvelopeType)
	}
	return DecodeBatch(e.Data.Compressed, l)
}
