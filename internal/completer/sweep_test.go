package completer

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// After a long absence there are more sessions to finish than a sweep has in hand at a
// time: those whose logs wait to be shrunk are in hand too.
func TestASweepHasABoundedNumberOfSessionsInHand(t *testing.T) {
	const n = sweepInHand + 40
	r := newRig(t)
	for i := range n {
		s := r.prepare(sidOf(i), shape{})
		s.end(t)
		if _, err := uploadlog.CompareAndAppend(t.Context(), r.conn, 0, s.sid, 0, s.log[0]); err != nil {
			t.Fatal(err)
		}
	}
	c := r.completer()
	c.cfg.Sweep = time.Nanosecond
	if err := c.tidying.Acquire(t.Context(), tidiers); err != nil { // no log is shrunk meanwhile
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.sweep(t.Context(), t.Context()) })
	inHand := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.busy)
	}
	r.eventually("all that are in hand wait for their logs", func() bool { return inHand() >= sweepInHand && c.completing.Load() == 0 })
	if got := inHand(); got != sweepInHand {
		t.Errorf("%d sessions are in hand, want %d", got, sweepInHand)
	}
	c.tidying.Release(tidiers)
	wg.Wait()
	for i := range n {
		r.finished(sidOf(i))
	}
}

func sidOf(i int) string { return fmt.Sprintf("s%d", i) }

// Without the consumer, and for whatever it lost, there is the sweep.
func TestTheSweepFindsWhatTheConsumerDoesNot(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", shape{parts: []int{3}})
	open := r.prepare("open", shape{parts: []int{3}})
	if _, err := uploadlog.CompareAndAppend(t.Context(), r.conn, 0, "open", 0, open.log[0]); err != nil {
		t.Fatal(err)
	}
	c := r.completer()
	c.cfg.Sweep = time.Nanosecond
	c.sweep(t.Context(), t.Context())
	r.finished("s1")
	r.whole(s)
	if last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "open"); err != nil || last.Kind != bus.KindBase {
		t.Fatalf("the open session's log ends with %s, %v", last.Kind, err)
	}
}

func TestOrphanedUploadsAreAbortedAndOthersAreNot(t *testing.T) {
	r := newRig(t)
	create := func(key string) string {
		id, err := r.real.CreateUpload(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	s := r.prepare("known", shape{parts: []int{3}})
	if _, err := uploadlog.CompareAndAppend(t.Context(), r.conn, 0, "known", 0, s.log[0]); err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{
		s.state.Upload.ID: true, create("elsewhere/s1.tar"): true, create("rec/other-thing"): true, create("rec/a/b.tar"): true,
	}
	gone := []string{create("rec/unknown.tar"), create("rec/known.tar")}
	c := r.completer()
	c.abortOrphans(t.Context())
	if n := uploads(r, keep); n != len(keep)+len(gone) {
		t.Fatalf("%d uploads after a sweep of young ones, want %d", n, len(keep)+len(gone))
	}
	c.cfg.OrphanAge = 0
	c.abortOrphans(t.Context())
	if n := uploads(r, keep); n != len(keep) {
		t.Fatalf("%d uploads left, want %d", n, len(keep))
	}
	for _, id := range gone {
		if _, err := r.real.ListParts(t.Context(), "rec/unknown.tar", id); !errors.Is(err, s3store.ErrUploadGone) {
			t.Errorf("orphan: %v, want ErrUploadGone", err)
		}
	}
}

func uploads(r *rig, keep map[string]bool) (n int) {
	r.t.Helper()
	found := 0
	for up, err := range r.real.ListUploads(r.t.Context(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
		if keep[up.ID] {
			found++
		}
	}
	if found != len(keep) {
		r.t.Fatalf("%d of %d uploads to be kept are there", found, len(keep))
	}
	return n
}
