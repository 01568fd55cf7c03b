package recording

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func end(t *testing.T, s *bus.Stream) {
	t.Helper()
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestBusGivesWhatBelongsInTheRecording(t *testing.T) {
	s := newSite(t)
	records := lines(t, 12)
	other := event(t, 2, []byte("another text for the same index"))
	s.raw(t, "node1", "s1", records[0], nil) // one bare OneOf
	s.raw(t, "node2", "s1", records[1], nil) // of a node that has no part in it
	s.raw(t, "node1", "s1", frames(records[1:5]...), nil)
	s.raw(t, "node1", "s1", other, nil)
	s.raw(t, "node1", "s1", append(frames(records[4:7]...), 0, 0, 0, 99), nil)     // torn at its end
	s.raw(t, "no@de", "s1", records[5], nil)                                       // a subject that is no session's
	s.raw(t, "node1", "s1", []byte("no event"), nil)                               //
	s.raw(t, "node1", "s1", event(t, slicefmt.MaxIndex+1, nil), nil)               // a reserved index
	s.raw(t, "node1", "s1", nil, nats.Header{bus.HeaderControl: {"hold my beer"}}) // an unknown control
	s.raw(t, "node1", "s1", nil, nats.Header{bus.HeaderControl: {"alive"}, bus.HeaderCount: {"7"}})
	s.raw(t, "node1", "s1", nil, nats.Header{bus.HeaderControl: {"handover"}, bus.HeaderCount: {"7"}, bus.HeaderTo: {"node3"}})
	s.raw(t, "node1", "s1", records[7], nil) // after it handed over
	s.raw(t, "node3", "s1", frames(records[7:10]...), nil)
	s.raw(t, "node3", "s1", nil, nats.Header{bus.HeaderControl: {"end"}, bus.HeaderCount: {"10"}})
	s.raw(t, "node3", "s1", records[10], nil) // after the end

	r, err := s.FromBus(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	same(t, mustRead(t, r, Range{}), records[:10])
	want := BusInfo{Messages: 14, Late: 7, First: 0, Ended: true, Count: 10, Node: "node3"}
	if got := r.BusInfo(); got != want {
		t.Fatalf("found %+v, want %+v", got, want)
	}
	if c := r.Counts(); c.Records != 10 || c.Duplicates != 2 || c.Gaps != 0 {
		t.Fatalf("counts %+v", c)
	}
	same(t, mustRead(t, r, Range{FromIndex: 3, ToTime: at(5)}), records[3:6])
}

func frames(records ...[]byte) []byte {
	var b []byte
	for _, r := range records {
		b = slicefmt.AppendFrame(b, r)
	}
	return b
}

func TestFollowGoesOnUntilTheEnd(t *testing.T) {
	s := newSite(t)
	records := lines(t, 20)
	stream := s.publish(t, "s1", records[:5])
	r, err := s.Follow(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	var got int
	for rec, err := range r.Records(t.Context(), Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Index != int64(got) {
			t.Fatalf("event %d, want %d", rec.Index, got)
		}
		got++
		// Each event is made once the one before has been seen.
		if got >= 5 && got < len(records) {
			if err := stream.Append(t.Context(), records[got], int64(got)); err != nil {
				t.Fatal(err)
			}
		}
		if got == len(records) {
			go func() { _ = stream.End(context.Background()) }()
		}
	}
	if got != len(records) || !r.BusInfo().Ended {
		t.Fatalf("%d events, %+v", got, r.BusInfo())
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	s := newSite(t)
	s.publish(t, "s1", lines(t, 3))
	r, err := s.Follow(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	got, err := read(ctx, r, Range{})
	if len(got) != 3 || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%d events and %v", len(got), err)
	}
}

func TestFollowOfAnAbandonedSessionEnds(t *testing.T) {
	s := newSite(t)
	s.publish(t, "s1", lines(t, 3))
	s.log(t, "s1", bus.KindEnded, bus.SessionState{Ended: true})
	r, err := s.Follow(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, r, Range{}), lines(t, 3))
}

func TestCompareBusAndStore(t *testing.T) {
	s := newSite(t)
	records := lines(t, 20)
	end(t, s.publish(t, "s1", records))
	changed := slices.Clone(records)
	changed[7] = event(t, 7, []byte("not what was typed"))
	tests := []struct {
		name   string
		object [][]byte
		trim   uint64
		want   Diff
	}{
		{"equal", records, 0, Diff{Same: 20}},
		{"one differs", changed, 0, Diff{Same: 19, Other: 1}},
		{"missing in the store", slices.Concat(records[:3], records[6:9], records[10:]), 0,
			Diff{Same: 16, OnlyA: 4, ListedA: []slicefmt.Gap{{From: 3, To: 6}, {From: 9, To: 10}}}},
		{"more in the store", append(slices.Clone(records), event(t, 20, nil)), 0, Diff{Same: 20, OnlyB: 1, ListedB: []slicefmt.Gap{{From: 20, To: 21}}}},
		{"trimmed from the bus", records, 7, Diff{Same: 14, Trimmed: slicefmt.Gap{To: 6}, TrimmedEvents: 6}},
		{"trimmed from the bus, and one of them missing in the store", records[1:], 7, Diff{Same: 14, Trimmed: slicefmt.Gap{To: 6}, TrimmedEvents: 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.trim > 0 {
				s.trim(t, "s1", tt.trim)
			}
			put(t, s.store, "s1", 0, tt.object)
			fromBus, err := s.FromBus(t.Context(), "s1")
			if err != nil {
				t.Fatal(err)
			}
			stored, err := s.Open(t.Context(), "s1")
			if err != nil {
				t.Fatal(err)
			}
			if stored.FromBus() || !fromBus.FromBus() {
				t.Fatal("Open did not take the finished recording")
			}
			d, err := Compare(t.Context(), fromBus, stored)
			if err != nil {
				t.Fatal(err)
			}
			if d.Same != tt.want.Same || d.Other != tt.want.Other || d.OnlyA != tt.want.OnlyA || d.OnlyB != tt.want.OnlyB ||
				!slices.Equal(d.ListedA, tt.want.ListedA) || !slices.Equal(d.ListedB, tt.want.ListedB) ||
				d.Trimmed != tt.want.Trimmed || d.TrimmedEvents != tt.want.TrimmedEvents || int64(len(d.Events)) != d.Other {
				t.Fatalf("diff %+v, want %+v", d, tt.want)
			}
			if d.Equal() != (tt.want.Other+tt.want.OnlyA+tt.want.OnlyB == 0) {
				t.Fatalf("Equal says %v of %+v", d.Equal(), d)
			}
			other, err := Compare(t.Context(), stored, fromBus)
			if err != nil || other.Same != d.Same || other.OnlyA != d.OnlyB || other.OnlyB != d.OnlyA || other.Trimmed != d.Trimmed {
				t.Fatalf("the other way round %+v, %v", other, err)
			}
		})
	}
}

func TestEventsAreComparedByMeaning(t *testing.T) {
	// The same print without the empty sub-messages and defaults that our encoder
	// writes: Metadata with only an index.
	short := []byte{0x3a, 0x04, 0x0a, 0x02, 0x08, 0x01}
	long, err := canonical(short)
	if err != nil || len(long) <= len(short) {
		t.Fatalf("%x, %v", long, err)
	}
	if !sameEvent(short, long) || sameEvent(long, event(t, 1, []byte("x"))) || sameEvent([]byte{0xff}, short) {
		t.Fatal("events are not compared by what they mean")
	}
}

func TestRebuildMakesARecordingThatVerifies(t *testing.T) {
	s := newSite(t)
	records := noise(t, 200) // 12 MB: two parts
	whole := put(t, s.store, "s1", slicefmt.MinPartSize, records)
	before, err := s.store.Head(t.Context(), whole.Key)
	if err != nil {
		t.Fatal(err)
	}
	end(t, s.publish(t, "s1", records))

	b, err := s.Rebuild(t.Context(), "s1", s.store)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Manifest.Parts) != 2 || b.Key == whole.Key || b.Manifest.Outcome != slicefmt.OutcomeComplete {
		t.Fatalf("rebuilt %s: %+v", b.Key, b.Manifest)
	}
	if rep, err := s.Verify(t.Context(), b.Name, nil); err != nil || rep.Verdict != OK {
		t.Fatalf("%+v, %v", rep, err)
	}
	r, err := s.Open(t.Context(), b.Name)
	if err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, r, Range{}), records)
	if after, err := s.store.Head(t.Context(), whole.Key); err != nil || after.ETag != before.ETag || !after.Modified.Equal(before.Modified) {
		t.Fatalf("the finished recording was touched: %+v, %+v, %v", before, after, err)
	}
	for i, err := range s.List(t.Context(), Filter{}) {
		if err != nil || i.Key == b.Key {
			t.Fatalf("listed %+v, %v", i, err)
		}
	}
	again, err := s.Rebuild(t.Context(), "s1", s.store)
	if err == nil && again.Key == b.Key || err != nil && !errors.Is(err, s3store.ErrExists) {
		t.Fatalf("rebuilt again as %s, %v", again.Key, err)
	}
}

func TestRebuildNamesWhatTheBusNoLongerHas(t *testing.T) {
	s := newSite(t)
	records := lines(t, 30)
	end(t, s.publish(t, "s1", records))
	if _, err := s.Rebuild(t.Context(), "s1", s.store); !errors.Is(err, ErrRunning) {
		t.Fatalf("a session that is not over was rebuilt: %v", err)
	}
	s.log(t, "s1", bus.KindEnded, bus.SessionState{Ended: true})
	s.trim(t, "s1", 11)
	b, err := s.Rebuild(t.Context(), "s1", s.store)
	if err != nil {
		t.Fatal(err)
	}
	gap := slicefmt.Gap{To: 10}
	if b.Trimmed != gap || !slices.Equal(b.Manifest.Gaps, []slicefmt.Gap{gap}) || b.Manifest.Missing != 10 || b.Manifest.Outcome != slicefmt.OutcomeGapped {
		t.Fatalf("trimmed %+v, manifest %+v", b.Trimmed, b.Manifest)
	}
	if rep, err := s.Verify(t.Context(), b.Name, nil); err != nil || rep.Verdict != Incomplete {
		t.Fatalf("%+v, %v", rep, err)
	}
	r, err := s.Open(t.Context(), b.Name)
	if err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, r, Range{}), records[10:])
	s.trim(t, "s1", 40)
	if _, err := s.Rebuild(t.Context(), "s1", s.store); !errors.Is(err, ErrNotOnBus) {
		t.Fatalf("rebuilt from nothing: %v", err)
	}
}
