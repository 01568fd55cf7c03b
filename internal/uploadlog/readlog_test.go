package uploadlog

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestReadLogIsOneSnapshotInOrder(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	if _, err := ReadLog(t.Context(), conn, 0, "s"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("no log: %v, want ErrNotFound", err)
	}
	var want []uint64
	for i := range 30 {
		seqs, err := o.Append(t.Context(),
			Record{Kind: bus.KindCheckpoint, State: state("s", int64(i)), Payload: []byte("c")},
			Record{Kind: bus.KindPart, State: state("s", int64(i)), Payload: fmt.Append(nil, i)},
			Record{Kind: bus.KindPart, State: state("t", int64(i)), Payload: []byte("another")})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, seqs[1])
	}
	log, err := ReadLog(t.Context(), conn, 0, "s")
	if err != nil || len(log.Records) != 30 {
		t.Fatalf("%d records, %v", len(log.Records), err)
	}
	for i, e := range log.Records {
		if e.Seq != want[i] || e.Kind != bus.KindPart || string(e.Payload) != fmt.Sprint(i) || e.State.Next != int64(i) || e.Time.IsZero() {
			t.Fatalf("record %d: %+v", i, e)
		}
	}
	last, err := ReadLast(t.Context(), conn, 0, "s")
	if err != nil || last.Seq != want[29] || asJSON(t, last) != asJSON(t, log.Last()) {
		t.Fatalf("last %+v, %v", last, err)
	}
}

func TestOfManyWhoAppendAfterOneRecordOneDoes(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	seqs, err := o.Append(t.Context(), Record{Kind: bus.KindEnded, State: state("s", 1), Payload: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []uint64
	for range 16 {
		wg.Go(func() {
			seq, err := CompareAndAppend(t.Context(), conn, 0, "s", seqs[0], Record{Kind: bus.KindCompleted, State: state("s", 1)})
			switch {
			case err == nil:
				mu.Lock()
				won = append(won, seq)
				mu.Unlock()
			case !errors.Is(err, ErrMoved):
				t.Errorf("append: %v, want ErrMoved", err)
			}
		})
	}
	wg.Wait()
	log, err := ReadLog(t.Context(), conn, 0, "s")
	if err != nil || len(won) != 1 || len(log.Records) != 2 || log.Last().Seq != won[0] {
		t.Fatalf("winners %v, %d records, %v", won, len(log.Records), err)
	}
}

// A batch is stored whole or not at all, and CompareAndAppend tells which.
func TestSuccessorsAreAppendedTogetherOrNotAtAll(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	var all []Successor
	for _, sid := range []string{"a", "b", "c"} {
		seqs, err := o.Append(t.Context(), Record{Kind: bus.KindEnded, State: state(sid, 1), Payload: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Successor{SID: sid, Prev: seqs[0], Record: Record{Kind: bus.KindCompleted, State: state(sid, 1), Payload: []byte(sid)}})
	}
	good := all[1].Prev
	all[1].Prev--
	if seqs, err := AppendAll(t.Context(), conn, all); err == nil {
		t.Fatalf("a batch with a record that was overtaken is stored at %v", seqs)
	}
	for _, a := range all {
		if e, err := ReadLast(t.Context(), conn, 0, a.SID); err != nil || e.Kind != bus.KindEnded {
			t.Errorf("session %s: %+v, %v", a.SID, e, err)
		}
	}
	all[1].Prev = good
	seqs, err := AppendAll(t.Context(), conn, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range all {
		e, err := ReadLast(t.Context(), conn, 0, a.SID)
		if err != nil || e.Seq != seqs[i] || e.Kind != bus.KindCompleted || string(e.Payload) != a.SID {
			t.Errorf("session %s: %+v, %v, want it at %d", a.SID, e, err, seqs[i])
		}
		if _, err := CompareAndAppend(t.Context(), conn, 0, a.SID, a.Prev, a.Record); !errors.Is(err, ErrMoved) {
			t.Errorf("session %s once more: %v, want ErrMoved", a.SID, err)
		}
	}
}

func TestShrinkLeavesTheNewestRecord(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	for i := range 10 {
		if _, err := o.Append(t.Context(), base("s", int64(i)), base("t", int64(i)),
			Record{Kind: bus.KindCheckpoint, State: state("s", int64(i)), Payload: []byte("c")}); err != nil {
			t.Fatal(err)
		}
	}
	keep, err := CompareAndAppend(t.Context(), conn, 0, "s", mustLast(t, conn, "s"), Record{Kind: bus.KindNotified, State: state("s", 9)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{20, 0} {
		if n, err := Shrink(t.Context(), conn, 0, "s", keep); n != want || err != nil {
			t.Fatalf("deleted %d, %v; want %d", n, err, want)
		}
	}
	if n, _ := messages(t, conn); n != 12 {
		t.Fatalf("%d messages, want lease, newest of s and ten of t", n)
	}
	if n, err := Shrink(t.Context(), conn, 0, "nobody", 5); n != 0 || err != nil {
		t.Fatalf("a session without a log: %d, %v", n, err)
	}
}

// A delete that the server refuses must not count as done: a record that is left
// behind would be the session's newest once the last one's time has come.
func TestADeleteThatIsRefusedIsAnError(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	if _, err := o.Append(t.Context(), base("s", 0), base("s", 1)); err != nil {
		t.Fatal(err)
	}
	keep := mustLast(t, conn, "s")
	if err := Delete(t.Context(), conn, 1<<40); err != nil {
		t.Errorf("a message that never was: %v", err)
	}
	s, err := conn.JetStream().Stream(t.Context(), bus.StreamUploads)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.DenyDelete = true
	if _, err := conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if n, err := Shrink(t.Context(), conn, 0, "s", keep); n != 0 || err == nil {
		t.Errorf("deleted %d, %v; want an error", n, err)
	}
}

func mustLast(t *testing.T, conn *bus.Conn, sid string) uint64 {
	t.Helper()
	e, err := ReadLast(t.Context(), conn, 0, sid)
	if err != nil {
		t.Fatal(err)
	}
	return e.Seq
}

func TestARecordWithATimeToLiveGoes(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	rec := base("s", 1)
	rec.TTL = time.Second
	if _, err := o.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if e, err := ReadLast(t.Context(), conn, 0, "s"); err != nil || !e.Expires {
		t.Fatalf("%+v, %v", e, err)
	}
	eventually(t, "record is gone", func() bool {
		_, err := ReadLast(t.Context(), conn, 0, "s")
		return errors.Is(err, ErrNotFound)
	})
}

func TestEachLogFindsTheNewestRecordOfEachSession(t *testing.T) {
	conn := connect(t)
	if err := EachLog(t.Context(), conn, func(Head) error { return errors.New("there is none") }); err != nil {
		t.Fatal(err)
	}
	for p := range 2 {
		o, err := Claim(t.Context(), conn, p, "m", nil, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			st := state(fmt.Sprintf("%d-%d", p, i), 1)
			st.Partition = p
			if _, err := o.Append(t.Context(), Record{Kind: bus.KindBase, State: st}, Record{Kind: bus.KindEnded, State: st}); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := map[string]Head{}
	if err := EachLog(t.Context(), conn, func(h Head) error { found[h.SID] = h; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 20 {
		t.Fatalf("%d sessions", len(found))
	}
	for sid, h := range found {
		if h.Kind != bus.KindEnded || h.SID != sid || sid[:1] != fmt.Sprint(h.Partition) || time.Since(h.Time) > time.Minute {
			t.Fatalf("%+v", h)
		}
	}
}

func TestSubjectsOfOthersAreNoLogs(t *testing.T) {
	for _, subject := range []string{"", "tapedeck.uploads.0.lease", "tapedeck.uploads.0.c.s", "tapedeck.uploads.x.s.s",
		"tapedeck.uploads.00.s.s", "tapedeck.uploads.0.s.", "tapedeck.uploads.0.s.a.b", "tapedeck.events.0.s.s"} {
		if p, sid, err := ParseLogSubject(subject); err == nil {
			t.Errorf("%q was read as %d, %q", subject, p, sid)
		}
	}
	if p, sid, err := ParseLogSubject(bus.LogSubject(12, "a-b_c")); p != 12 || sid != "a-b_c" || err != nil {
		t.Errorf("%d, %q, %v", p, sid, err)
	}
}

// A replica that never catches up must not hold its reader for ever.
func TestALogThatDoesNotComeIsAnError(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "a")
	if _, err := o.Append(t.Context(), base("s", 1)); err != nil {
		t.Fatal(err)
	}
	_, last := messages(t, conn)
	start := time.Now()
	records, err := readUpTo(t.Context(), conn, bus.LogSubject(0, "s"), last+1, time.Second)
	if !errors.Is(err, errSilent) {
		t.Errorf("%d records, %v", len(records), err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("after %s", took)
	}
	if records, err = readUpTo(t.Context(), conn, bus.LogSubject(0, "s"), last, time.Second); err != nil || len(records) != 1 {
		t.Errorf("%d records, %v", len(records), err)
	}
}
