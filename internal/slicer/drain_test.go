package slicer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A sickStore puts no part while it is sick: it hangs, or refuses.
type sickStore struct {
	PartStore
	hangs, refuses atomic.Bool
	tries          atomic.Int64
}

func (s *sickStore) PutPart(ctx context.Context, key, id string, n int, body []byte) (s3store.Part, error) {
	s.tries.Add(1)
	switch {
	case s.hangs.Load():
		<-ctx.Done()
		return s3store.Part{}, ctx.Err()
	case s.refuses.Load():
		return s3store.Part{}, errors.New("refused by the test")
	}
	return s.PartStore.PutPart(ctx, key, id, n, body)
}

// A stop takes DrainTimeout and a little, also when the store hangs; the lease is
// free then, and the next owner loses nothing.
func TestAStopEndsInItsTimeThoughTheStoreHangs(t *testing.T) {
	r := newRig(t, 1)
	store := &sickStore{PartStore: r.store}
	store.hangs.Store(true)
	r.parts = store
	r.cfg.DrainTimeout = time.Second
	n := r.start()
	ps := feed(r, 3)
	within(t, 30*time.Second, "a part on its way", func() bool { return store.tries.Load() > 0 })
	began := time.Now()
	n.leave()
	// It waits for the store for as long as it may. Releasing may take 2 s more, though
	// it takes milliseconds where the bus answers.
	d := time.Since(began)
	if d < r.cfg.DrainTimeout || d > r.cfg.DrainTimeout+2*time.Second {
		t.Errorf("stopped after %v, want %v to %v", d, r.cfg.DrainTimeout, r.cfg.DrainTimeout+2*time.Second)
	}
	l, err := uploadlog.ReadLease(t.Context(), r.conn, 0)
	if err != nil || !l.Free {
		t.Errorf("lease %+v, %v: not free", l, err)
	}
	store.hangs.Store(false)
	r.start()
	finishAll(ps)
}

// More sessions than may deal with the store at once wait for their turn, and are given
// up with the partition if it does not come.
func TestSessionsWaitForTheirTurnAtTheStore(t *testing.T) {
	r := newRig(t, 1)
	store := &sickStore{PartStore: r.store}
	store.hangs.Store(true)
	r.parts, r.crew, r.cfg.DrainTimeout = store, 2, 100*time.Millisecond
	n := r.start()
	ps := feed(r, 12)
	for _, p := range ps[4:] {
		p.end()
	}
	within(t, 30*time.Second, "parts on their way", func() bool { return store.tries.Load() == 2 })
	time.Sleep(200 * time.Millisecond)
	if tries := store.tries.Load(); tries != 2 {
		t.Errorf("%d parts on their way, want 2", tries)
	}
	n.leave()
	store.hangs.Store(false)
	r.start()
	finishAll(ps[:4])
	for _, p := range ps[4:] {
		p.verify()
	}
}

// Sessions whose parts the store refuses are not in the way of the others, however many
// they are.
func TestSessionsThatTheStoreRefusesLeaveTheirTurnToOthers(t *testing.T) {
	r := newRig(t, 1)
	var refused, mended atomic.Int64
	r.crew, r.cfg.ParkAfter = 2, time.Hour
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(call, key string, _ int) (error, error) {
		for _, sid := range []string{"s-2", "s-3", "s-4", "s-5"} {
			if call == "part" && mended.Load() == 0 && strings.Contains(key, sid+".tar") {
				refused.Add(1)
				return errFault, nil
			}
		}
		return nil, nil
	}}
	r.start()
	ps := feed(r, 12)
	for _, p := range ps[2:6] {
		p.end()
	}
	within(t, 30*time.Second, "parts that are refused", func() bool { return refused.Load() > 8 })
	finishAll(ps[:2])
	finishAll(ps[6:])
	mended.Store(1)
	for _, p := range ps[2:6] {
		p.verify()
	}
}

// Where the store refuses all, no more sessions try than have a turn.
func TestTurnsStayTakenWhereTheStoreRefusesAll(t *testing.T) {
	r := newRig(t, 1)
	var keys sync.Map
	var tries, mended atomic.Int64
	r.crew, r.cfg.ParkAfter = 2, time.Hour
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(_, key string, _ int) (error, error) {
		if mended.Load() > 0 {
			return nil, nil
		}
		keys.Store(key, true)
		tries.Add(1)
		return errFault, nil
	}}
	began := time.Now()
	r.start()
	ps := feed(r, 12)
	for _, p := range ps {
		p.end()
	}
	within(t, 30*time.Second, "calls that are refused", func() bool { return tries.Load() > 12 })
	n := 0
	keys.Range(func(any, any) bool { n++; return true })
	if most := 2 + int(time.Since(began)/probeEvery); n > most {
		t.Errorf("%d sessions called the store, want %d at most", n, most)
	}
	mended.Store(1)
	for _, p := range ps {
		p.verify()
	}
}

// Health asks what work has come to: a store that refuses is said to, and is well
// again once it takes parts.
func TestChecksSayThatTheStoreRefuses(t *testing.T) {
	r := newRig(t, 1)
	store := &sickStore{PartStore: r.store}
	store.refuses.Store(true)
	r.parts = store
	n := r.start()
	check := func(name string) error { return n.Checks()[name](t.Context()) }
	ps := feed(r, 1)
	within(t, 30*time.Second, "a refused part", func() bool { return check("s3") != nil })
	if err := check("s3"); err != nil && !strings.Contains(err.Error(), "no call") {
		t.Errorf("s3: %v", err)
	}
	for _, name := range []string{"nats", "leases"} {
		if err := check(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	store.refuses.Store(false)
	within(t, 30*time.Second, "a part that is taken", func() bool { return check("s3") == nil })
	finishAll(ps)
	n.conn.Close()
	if check("nats") == nil {
		t.Error("nats: it is well without a connection")
	}
}

func TestWhatStandsStillIsSaid(t *testing.T) {
	now := time.Now()
	s := &Slicer{shared: &shared{cfg: quick()}}
	good := standing{at: now, cursor: 5, read: 9, last: 9}
	halted, old, silent := good, good, good
	halted.last, halted.halted, halted.reason = 20, now.Add(-stuckRead-time.Second), "the memory budget is used up"
	old.age = (s.cfg.Holdback + stuckAge).Seconds() + 1
	silent.at = now.Add(-stuckActor - time.Second)
	dry := halted
	dry.reason = ""
	for _, tt := range []struct {
		name, want string
		restart    bool // may mend it
		st         standing
	}{
		{"all is read", "", false, good},
		{"reading waits", "11 messages wait and none was read for 31s: the memory budget is used up", false, halted},
		{"nothing comes", "11 messages wait and none was read for 31s: none comes", true, dry},
		{"an event is not archived", "its oldest event is not archived", false, old},
		{"the actor hangs", "its work has not moved for 21s", true, silent},
	} {
		restart, err := s.stuck(now, &tt.st)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || restart != tt.restart {
			t.Errorf("%s: got %t, %v, want %t, %q", tt.name, restart, err, tt.restart, tt.want)
		}
	}
}
