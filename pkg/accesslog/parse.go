package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors that callers can test for.
var (
	// ErrRecords: some records are bad; those that are good were returned. The
	// error is a [*RecordsError].
	ErrRecords = errors.New("bad records")
	// ErrTooLarge: over a limit.
	ErrTooLarge = errors.New("too large")
	// ErrCorrupt: not base64, not zlib, a checksum that differs, not JSON. The
	// records before the bad byte were returned.
	ErrCorrupt = errors.New("corrupt batch")
)

// A RecordsError lists the bad records of an array. It wraps [ErrRecords].
type RecordsError struct {
	Good int           // records that were returned
	Bad  []RecordError // the first maxListed of them
	More int           // bad records that are not listed
}

// A RecordError is one bad record.
type RecordError struct {
	Index int    // in the array
	JSON  string // what stood there, cut to some hundred bytes
	Err   error
}

const (
	maxListed  = 100
	maxExcerpt = 300
)

func (e *RecordsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bad records (%d good)", len(e.Bad)+e.More, e.Good)
	for i, r := range e.Bad[:min(len(e.Bad), 3)] {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%srecord %d: %s", sep, r.Index, strings.ReplaceAll(r.Err.Error(), "\n", ", "))
	}
	return b.String()
}

// Is makes errors.Is find ErrRecords.
func (e *RecordsError) Is(target error) bool { return target == ErrRecords }

func (e *RecordsError) add(index int, raw []byte, err error) {
	if len(e.Bad) == maxListed {
		e.More++
		return
	}
	e.Bad = append(e.Bad, RecordError{index, string(raw[:min(len(raw), maxExcerpt)]), err})
}

// MarshalRecords is the payload of a message on the bus: a JSON array.
func MarshalRecords(recs []Record) ([]byte, error) {
	if recs == nil {
		recs = []Record{}
	}
	b, err := json.Marshal(recs)
	if err != nil {
		return nil, fmt.Errorf("write %d records: %w", len(recs), err)
	}
	return b, nil
}

// ParseRecords reads the payload of a message. When records are bad it returns
// the good ones, with an error that is [ErrRecords]; when the JSON breaks off,
// those before, with one that is [ErrCorrupt]. Members that it does not know
// are passed over.
func ParseRecords(payload []byte) ([]Record, error) {
	var recs []Record
	if json.Unmarshal(payload, &recs) == nil && recs != nil && allValid(recs) {
		return recs, nil
	}
	return readRecords(bytes.NewReader(payload), len(payload)/2+1)
}

func allValid(recs []Record) bool {
	for i := range recs {
		if recs[i].Validate() != nil {
			return false
		}
	}
	return true
}

// ReadRecords is [ParseRecords] for an array from somebody else: it takes no more
// than the inflated bytes and records of the limits, and fails with
// [ErrTooLarge] beyond. With each error come the good records before.
func ReadRecords(r io.Reader, l Limits) ([]Record, error) {
	l = l.orDefault()
	return readRecords(&limited{r: r, left: l.Inflated, limit: l.Inflated}, l.Records)
}

// readRecords reads an array record by record. It holds one at a time beside
// what it returns, and at most limit of them.
func readRecords(r io.Reader, limit int) ([]Record, error) {
	dec := json.NewDecoder(r)
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, corrupt("not a JSON array of records", err)
	}
	recs := []Record{}
	bad := &RecordsError{}
	for i := 0; dec.More(); i++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return recs, errors.Join(bad.orNil(recs), corrupt(fmt.Sprintf("record %d", i), err))
		}
		if i == limit {
			return recs, errors.Join(bad.orNil(recs), fmt.Errorf("read records: %w: more than %d", ErrTooLarge, limit))
		}
		var rec Record
		err := json.Unmarshal(raw, &rec)
		if err == nil {
			err = rec.Validate()
		}
		if err != nil {
			bad.add(i, raw, err)
			continue
		}
		recs = append(recs, rec)
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return recs, errors.Join(bad.orNil(recs), corrupt("end of the array", err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // reads to the end, and so the checksum
		return recs, errors.Join(bad.orNil(recs), corrupt("after the array", err))
	}
	return recs, bad.orNil(recs)
}

func (e *RecordsError) orNil(good []Record) error {
	if len(e.Bad) == 0 {
		return nil
	}
	e.Good = len(good)
	return e
}

func corrupt(where string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("read records: %s: %w", where, ErrCorrupt)
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrCorrupt):
		return fmt.Errorf("read records: %s: %w", where, err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read records: %s: %w: %w", where, ErrCorrupt, err)
}
