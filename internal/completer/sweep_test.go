package completer

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
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
