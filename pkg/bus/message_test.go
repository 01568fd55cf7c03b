package bus_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestRecordsBeforeATornFrameAreGood(t *testing.T) {
	var whole []byte
	var ends []int
	for i := range int64(3) {
		whole = slicefmt.AppendFrame(whole, event(t, i, 20))
		ends = append(ends, len(whole))
	}
	for cut := 1; cut <= len(whole); cut++ {
		good := 0
		for good < 3 && ends[good] <= cut {
			good++
		}
		n := 0
		var last error
		for rec, err := range (bus.Message{Payload: whole[:cut]}).Records() {
			if last = err; err == nil {
				if !bytes.Equal(rec, event(t, int64(n), 20)) {
					t.Fatalf("cut at %d: record %d differs", cut, n)
				}
				n++
			}
		}
		torn := good == 0 || ends[good-1] != cut
		if n != good || torn != errors.Is(last, bus.ErrPayload) {
			t.Fatalf("cut at %d of %d: %d records, %v", cut, len(whole), n, last)
		}
		if torn && good > 0 && !strings.Contains(last.Error(), "at byte") {
			t.Errorf("does not say where: %v", last)
		}
	}
}

func TestPayloadsThatAreNotFramed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		payload []byte
		records int
		err     error
	}{
		{"one bare record", event(t, 0, 10), 1, nil},
		{"nothing", nil, 0, bus.ErrPayload},
		{"bare record over the limit", bytes.Repeat([]byte{10}, slicefmt.MaxRecord+1), 0, bus.ErrPayload},
		{"frame of no bytes", []byte{0, 0, 0, 0}, 0, bus.ErrPayload},
		{"frame over the limit", []byte{0, 0xff, 0, 0, 1}, 0, bus.ErrPayload},
	} {
		n := 0
		var last error
		for _, err := range (bus.Message{Payload: tt.payload}).Records() {
			if last = err; err == nil {
				n++
			}
		}
		if n != tt.records || !errors.Is(last, tt.err) {
			t.Errorf("%s: %d records, %v", tt.name, n, last)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(slicefmt.AppendFrame(slicefmt.AppendFrame(nil, []byte("a")), []byte("bc")))
	f.Add([]byte{0, 0, 0, 5, 1})
	f.Add([]byte("bare"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var again []byte
		for rec, err := range (bus.Message{Payload: payload}).Records() {
			if err != nil {
				break
			}
			again = slicefmt.AppendFrame(again, rec)
		}
		if slicefmt.IsFramed(payload) && !bytes.HasPrefix(payload, again) {
			t.Fatalf("records of %x add up to %x", payload, again)
		}
	})
}
