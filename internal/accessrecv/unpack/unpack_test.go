package unpack_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack"
	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack/unpacktest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func read(b []byte, encoding string, l accesslog.Limits) ([]accesslog.Record, error) {
	in, err := unpack.Open(b, encoding, l)
	if err != nil {
		return nil, err
	}
	return in.Records(l)
}

// Fault 9 of the field: the receiver inflates without a limit.
func TestFault9ABombIsRefusedInBoundedMemory(t *testing.T) {
	limits := accesslog.Limits{Encoded: 64 << 20, Inflated: 4 << 20, Records: 10_000}
	million, huge := unpacktest.Bomb(t, 1000), unpacktest.Bomb(t, 10<<10)
	nested := unpacktest.Squeeze(t, unpacktest.Seal(huge))
	list := []byte("[" + strings.Repeat("{},", 1<<20) + "{}]")
	tests := []struct {
		name     string
		body     []byte
		encoding string
		is       error
		ceiling  uint64 // of what is allocated, beside what the body itself takes
	}{
		{"1 MB that is 1 GB", unpacktest.Seal(million), "", accesslog.ErrTooLarge, 2 << 20},
		{"1 MB that is 1 GB, deflated", million, "deflate", accesslog.ErrTooLarge, 2 << 20},
		{"10 MB that are 10 GB", unpacktest.Seal(huge), "", accesslog.ErrTooLarge, 2 << 20},
		{"less than 1 MB that would be 10 GB if inflated twice", nested, "deflate", accesslog.ErrTooLarge, 2 << 20},
		{"millions of empty records", unpacktest.Seal(unpacktest.Squeeze(t, list)), "", accesslog.ErrTooLarge, 64 << 20},
		{"one record of 4 MB", unpacktest.Seal(unpacktest.Squeeze(t, []byte(`[{"x":"`+strings.Repeat("a", 4<<20-20)+`"}]`))), "", accesslog.ErrRecords, 64 << 20},
		{"brackets in brackets", unpacktest.Seal(unpacktest.Squeeze(t, bytes.Repeat([]byte("["), 4<<20-20))), "", accesslog.ErrCorrupt, 64 << 20},
	}
	if len(nested) > 1<<20 {
		t.Errorf("the nested bomb has %d bytes", len(nested))
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			recs, err := read(test.body, test.encoding, limits)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, test.is) || len(recs) > 0 {
				t.Fatalf("%d records, %v", len(recs), err)
			}
			used := after.TotalAlloc - before.TotalAlloc
			if limit := test.ceiling + 4*uint64(len(test.body)); used > limit {
				t.Errorf("%d bytes took %d to refuse, limit %d", len(test.body), used, limit)
			}
			t.Logf("%d bytes, %d allocated: %v", len(test.body), used, err)
		})
	}
}
