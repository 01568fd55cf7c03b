package uploadlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestLoadReturnsTheNewestStateOfEachSession(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "a")
	for i := range 20 {
		sid := sidOf(i)
		if _, err := o.Append(t.Context(), base(sid, 1)); err != nil {
			t.Fatal(err)
		}
		order := []Record{{Kind: bus.KindCheckpoint, Payload: []byte("bytes")}, {Kind: bus.KindPart, Payload: []byte("{}")}}
		if i%2 == 0 {
			slices.Reverse(order) // the newest record is on the checkpoint subject
		}
		order[0].State, order[1].State = state(sid, 2), state(sid, 3)
		if _, err := o.Append(t.Context(), order...); err != nil {
			t.Fatal(err)
		}
	}
	over := state("over", 9)
	over.Ended = true
	if _, err := o.Append(t.Context(), Record{Kind: bus.KindEnded, State: over, Payload: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	created := time.Unix(5, 0).UTC()
	if err := o.WriteCursor(t.Context(), bus.Cursor{Seq: 77, Created: created}); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := Claim(t.Context(), conn, 1, "b", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	other := base("elsewhere", 1)
	other.State.Partition = 1
	if _, err := elsewhere.Append(t.Context(), other); err != nil {
		t.Fatal(err)
	}

	o = claim(t, conn, "b")
	l, err := o.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Sessions) != 20 || len(l.Ended) != 1 || !l.HasCursor || l.Cursor.Seq != 77 || !l.Cursor.Created.Equal(created) {
		t.Fatalf("%d open, %d ended, cursor %v %+v", len(l.Sessions), len(l.Ended), l.HasCursor, l.Cursor)
	}
	if e := l.Ended["over"]; e.Kind != bus.KindEnded || e.Next != 9 || e.Node != "node-1" || e.Seq == 0 {
		t.Fatalf("ended session: %+v", e)
	}
	for i := range 20 {
		want, kind := state(sidOf(i), 3), bus.KindPart
		if i%2 == 0 {
			kind = bus.KindCheckpoint
		}
		want.V = bus.LogVersion
		got := l.Sessions[sidOf(i)]
		if asJSON(t, got.State) != asJSON(t, want) || got.Kind != kind || got.Seq == 0 {
			t.Fatalf("session %d: %s %s\nwant %s %s", i, got.Kind, asJSON(t, got.State), kind, asJSON(t, want))
		}
	}
}

func TestLoadOfANewPartitionIsEmpty(t *testing.T) {
	conn := connect(t)
	l, err := claim(t, conn, "m").Load(t.Context())
	if err != nil || len(l.Sessions) != 0 || l.HasCursor {
		t.Fatalf("%+v, %v", l, err)
	}
}

func TestLoadAfterANewerClaimIsFenced(t *testing.T) {
	conn := connect(t)
	old := claim(t, conn, "old")
	claim(t, conn, "new")
	if _, err := old.Load(t.Context()); !errors.Is(err, ErrFenced) {
		t.Fatalf("%v, want ErrFenced", err)
	}
}

func TestLoadWithoutItsOwnLeaseDoesNotCount(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	if _, err := o.Append(t.Context(), base("s", 1)); err != nil {
		t.Fatal(err)
	}
	// As a replica would look that has not got our lease yet.
	o.fence += 100
	if _, err := o.Load(short(t, 500*time.Millisecond)); err == nil {
		t.Fatal("loaded from a log that lacks the owner's lease")
	}
}

// newer stores a record as a later version would.
func newer(t *testing.T, conn *bus.Conn, subject, kind string) {
	t.Helper()
	m := nats.NewMsg(subject)
	m.Header.Set(bus.HeaderKind, kind)
	m.Header.Set(bus.HeaderState, `{"v":2,"sid":["of","another","shape"]}`)
	m.Data = []byte(`{"v":2}`)
	if _, err := conn.JetStream().PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestWhatANewerVersionWroteIsLeftAlone(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	if _, err := o.Append(t.Context(), base("ours", 1)); err != nil {
		t.Fatal(err)
	}
	newer(t, conn, bus.LogSubject(0, "theirs"), "later")
	l, err := o.Load(t.Context())
	if err != nil || len(l.Sessions) != 1 || fmt.Sprint(l.Newer) != "[theirs]" {
		t.Fatalf("%d sessions, newer %v, %v", len(l.Sessions), l.Newer, err)
	}
	if _, err := ReadLog(t.Context(), conn, 0, "theirs"); !errors.Is(err, ErrNewer) {
		t.Fatalf("ReadLog: %v, want ErrNewer", err)
	}
	newer(t, conn, bus.CursorSubject(0), "")
	if _, err := o.Load(t.Context()); !errors.Is(err, ErrNewer) {
		t.Fatalf("Load with a newer cursor: %v, want ErrNewer", err)
	}
	newer(t, conn, bus.LeaseSubject(0), "")
	if _, err := Claim(t.Context(), conn, 0, "m", nil, ""); !errors.Is(err, ErrNewer) {
		t.Fatalf("Claim after a newer lease: %v, want ErrNewer", err)
	}
}

func TestCheckpointsReadBack(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	blocks, tail := bytes.Repeat([]byte("block"), 100_000), []byte("tail")
	payload, err := EncodeCheckpoint(bus.CheckpointRecord{First: 3, Offset: 10, Prev: 4}, blocks, tail)
	if err != nil {
		t.Fatal(err)
	}
	seqs, err := o.Append(t.Context(), Record{Kind: bus.KindCheckpoint, State: state("s", 1), Payload: payload}, base("s", 1))
	if err != nil {
		t.Fatal(err)
	}
	rec, b, tl, err := o.ReadCheckpoint(t.Context(), seqs[0])
	want := bus.CheckpointRecord{First: 3, Offset: 10, Prev: 4, Blocks: len(blocks), Tail: len(tail)}
	if err != nil || rec != want || !bytes.Equal(b, blocks) || !bytes.Equal(tl, tail) {
		t.Fatalf("%+v, %d, %d, %v", rec, len(b), len(tl), err)
	}
	if _, _, _, err := o.ReadCheckpoint(t.Context(), seqs[1]); err == nil {
		t.Error("a base record was read as a checkpoint")
	}
	if _, _, _, err := o.ReadCheckpoint(t.Context(), seqs[1]+100); !errors.Is(err, ErrNotFound) {
		t.Errorf("a record that is not there: %v, want ErrNotFound", err)
	}
	for n := range len(payload) {
		if n > 200 && n < len(payload)-10 {
			continue
		}
		if _, _, _, err := DecodeCheckpoint(payload[:n]); err == nil {
			t.Fatalf("a checkpoint cut to %d of %d bytes was read", n, len(payload))
		}
	}
	if _, err := EncodeCheckpoint(bus.CheckpointRecord{}, make([]byte, MaxCheckpointData), []byte{1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
}

// The time to take a partition over with n open sessions, each with a log record
// and a checkpoint.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			conn := connect(b)
			o, err := Claim(b.Context(), conn, 0, "m", nil, "")
			if err != nil {
				b.Fatal(err)
			}
			var recs []Record
			for i := range n {
				recs = append(recs, base(sidOf(i), 1), Record{Kind: bus.KindCheckpoint, State: state(sidOf(i), 2), Payload: make([]byte, 1024)})
				if len(recs) == MaxBatch || i == n-1 {
					if _, err := o.Append(b.Context(), recs...); err != nil {
						b.Fatal(err)
					}
					recs = recs[:0]
				}
			}
			for b.Loop() {
				o, err := Claim(b.Context(), conn, 0, "m", nil, "")
				if err != nil {
					b.Fatal(err)
				}
				l, err := o.Load(b.Context())
				if err != nil || len(l.Sessions) != n {
					b.Fatal(len(l.Sessions), err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/takeover")
		})
	}
}

// A completer shortens a session's log while the partition is taken over: the record
// that the consumer was about to bring is gone, and the one in its place is newer than
// the lease.
func TestASessionWhoseLogIsShortenedMeanwhileIsNotMissed(t *testing.T) {
	conn := connect(t)
	before := claim(t, conn, "before")
	ended := base("s", 1)
	ended.Kind, ended.State.Ended = bus.KindNotified, true
	seqs, err := before.Append(t.Context(), ended)
	if err != nil {
		t.Fatal(err)
	}
	o := claim(t, conn, "after")
	r := &reading{o: o, found: map[string]newest{}}
	if err := Delete(t.Context(), conn, seqs[0]); err != nil {
		t.Fatal(err)
	}
	if err := r.newestOfEach(t.Context()); err != nil || len(r.found) != 0 {
		t.Fatalf("found %v, %v", r.found, err)
	}
	// It was stored before the other was deleted, but not known to be pending.
	again := ended
	again.TTL = time.Hour
	if _, err := CompareAndAppend(t.Context(), conn, 0, "s", 0, again); err != nil {
		t.Fatal(err)
	}
	if err := r.sinceTheLease(t.Context()); err != nil || r.found["s"].kind != bus.KindNotified {
		t.Errorf("found %v, %v", r.found, err)
	}
	// Nothing came since the lease.
	o = claim(t, conn, "yet another")
	if err := (&reading{o: o, found: map[string]newest{}}).sinceTheLease(t.Context()); err != nil {
		t.Error(err)
	}
}
