package unpack_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack/unpacktest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// How a body of the fuzzer is sent. It does not find checksums by itself.
const (
	asItIs   byte = 0
	deflated byte = 1 // with Content-Encoding: deflate
	squeezed byte = 2 // in zlib, and the envelope if it is not deflated
)

// What comes from a body is valid, within the limits, the same each time, and
// comes again from what is made of it.
func FuzzEnvelope(f *testing.F) {
	limits := accesslog.Limits{Encoded: 64 << 10, Inflated: 256 << 10, Records: 200}
	one := accesslog.Record{SessionID: "1", Protocol: accesslog.UDP, SourceAddr: "[2001:db8::1]:53", StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	two := one
	two.SessionID, two.EndedAt, two.BytesTx = "2", one.StartedAt.Add(time.Hour), 7
	array, err1 := accesslog.MarshalRecords([]accesslog.Record{one, two})
	sealed, err2 := accesslog.EncodeEnvelope([]accesslog.Record{one, two})
	z, err3 := accesslog.DeflateBatch([]accesslog.Record{one, two})
	if err := errors.Join(err1, err2, err3); err != nil {
		f.Fatal(err)
	}
	f.Add(array, asItIs)
	f.Add(sealed, asItIs)
	f.Add([]byte(`{"type":"newt/access-log","data":{"batch":"b","compressed":"e\u004ao="}}`), asItIs)
	f.Add(unpacktest.Seal(z[:50]), asItIs)
	f.Add(unpacktest.Seal(unpacktest.Bomb(f, 2)), asItIs)
	f.Add(z, deflated)
	f.Add(sealed, deflated)
	f.Add(array, squeezed)
	f.Add([]byte(`[{"sessionId":"x"},7,`), squeezed)
	f.Add(array, squeezed|deflated)
	f.Fuzz(func(t *testing.T, b []byte, form byte) {
		encoding := ""
		switch {
		case form&squeezed != 0 && form&deflated == 0:
			b = unpacktest.Seal(unpacktest.Squeeze(t, b))
		case form&squeezed != 0:
			b = unpacktest.Squeeze(t, b)
		}
		if form&deflated != 0 {
			encoding = "deflate"
		}
		recs, err := read(b, encoding, limits)
		if len(recs) > limits.Records {
			t.Fatalf("%d records", len(recs))
		}
		for i := range recs {
			if err := recs[i].Validate(); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
		}
		again, err2 := read(b, encoding, limits)
		if !reflect.DeepEqual(recs, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%d records, %v; again %d, %v", len(recs), err, len(again), err2)
		}
		if err != nil && !errors.Is(err, accesslog.ErrRecords) && !errors.Is(err, accesslog.ErrCorrupt) && !errors.Is(err, accesslog.ErrTooLarge) {
			t.Fatalf("an error of no kind: %v", err)
		}
		sameAgain(t, recs)
	})
}

func sameAgain(t *testing.T, recs []accesslog.Record) {
	b, err := accesslog.EncodeEnvelope(recs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(b, "", accesslog.Limits{Encoded: 1 << 20, Inflated: 4 << 20, Records: 200})
	if err != nil || len(got) != len(recs) {
		t.Fatalf("%d records of %d come again, %v", len(got), len(recs), err)
	}
	for i := range got {
		if !got[i].StartedAt.Equal(recs[i].StartedAt) || !got[i].EndedAt.Equal(recs[i].EndedAt) || got[i].SessionID != recs[i].SessionID {
			t.Fatalf("record %d is\n%+v, and again\n%+v", i, recs[i], got[i])
		}
	}
}
