package completer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
)

// A tally is the sessions of which each replica told the world, by its number.
type tally struct {
	t    *testing.T
	mu   sync.Mutex
	done []int
	here map[int]bool // who has work
	all  chan struct{}
}

// watch counts what replica i does. It holds the first work of each until all have some,
// so that none can do everything before the others have begun.
func (x *tally) watch(i int) func(step string, write func() error) error {
	return func(step string, write func() error) error {
		x.arrive(i)
		select {
		case <-x.all:
		case <-x.t.Context().Done(): // the test has failed
		}
		err := write()
		if step == "commit notified" && err == nil {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.done[i]++
		}
		return err
	}
}

func (x *tally) arrive(i int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.here[i] {
		return
	}
	if x.here[i] = true; len(x.here) == len(x.done) {
		close(x.all)
	}
}

// A replica takes little ahead of what it can do: two that stand still have some 40 of
// these logs' 180 records each, and leave the rest to the third.
func TestReplicasShareTheWorkAndAgree(t *testing.T) {
	r := newRig(t)
	var all []*session
	for i := range 60 {
		all = append(all, r.record(fmt.Sprintf("s%d", i), shape{parts: []int{1 + i%10}}))
	}
	x := &tally{t: t, done: make([]int, 3), here: map[int]bool{}, all: make(chan struct{})}
	var replicas []*Completer
	for i := range x.done {
		c := r.completerFor(2)
		c.fault = x.watch(i)
		replicas = append(replicas, c)
	}
	r.runAll(replicas)
	for _, s := range all {
		r.finished(s.sid)
		r.whole(s)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := 0
	for i, n := range x.done {
		sum += n
		if n == 0 {
			t.Errorf("replica %d finished no session", i)
		}
	}
	if sum > len(all) {
		t.Errorf("replicas finished %v sessions; there are %d", x.done, len(all))
	}
}

// Several completers at the same session at the same time: they race at every step.
func TestCompletersMayRaceForOneSession(t *testing.T) {
	r := newRig(t)
	for round := range 5 {
		s := r.record(fmt.Sprintf("s%d", round), shape{parts: []int{5}})
		var wg sync.WaitGroup
		for range 4 {
			c := r.completer()
			wg.Go(func() {
				// One that meets another in the middle of its work tries again.
				for range 10 {
					_, err := c.advance(t.Context(), 0, s.sid, true)
					if err == nil || errors.Is(err, uploadlog.ErrNotFound) {
						return
					}
					if isAlarm(err) {
						t.Errorf("round %d: %v", round, err)
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Errorf("round %d: no end", round)
			})
		}
		wg.Wait()
		r.finished(s.sid)
		r.whole(s)
	}
}

func TestASessionThatFailsHoldsUpNoOther(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		s := r.prepare(fmt.Sprintf("bad%d", i), shape{parts: []int{3}})
		s.ended.Count++
		r.write(s)
	}
	s := r.record("good", shape{parts: []int{3}})
	r.run(1)
	r.finished("good")
	r.whole(s)
}

// A completer that may go on for a while looks at the session once more when a step
// fails, since the log has moved on; one that may not is cut short. Both stop.
func TestStopInTheMiddleAndGoOn(t *testing.T) {
	for _, drain := range []time.Duration{0, time.Minute} {
		t.Run(drain.String(), func(t *testing.T) {
			r := newRig(t)
			s := r.record("s1", shape{parts: []int{3}})
			reached := make(chan struct{})
			reach := sync.OnceFunc(func() { close(reached) })
			ctx, cancel := context.WithCancel(t.Context())
			c := r.completer()
			c.cfg.Drain = drain
			c.fault = func(step string, write func() error) error {
				if step == "commit notified" {
					reach()
					<-ctx.Done()
					return ctx.Err()
				}
				return write()
			}
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			<-reached
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			r.run(1)
			r.finished("s1")
			r.whole(s)
		})
	}
}
