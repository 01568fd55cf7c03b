package s3store

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowSync syncs for a second, and says which writes it has covered.
type slowSync struct {
	mu      sync.Mutex
	runs    int
	written int // writes done so far
	covered int // writes done before the last sync that has ended began
}

func (s *slowSync) sync(*os.File) error {
	s.mu.Lock()
	s.runs++
	began := s.written
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covered = began
	return nil
}

func (s *slowSync) write() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written++
	return s.written
}

func TestManySyncsAreFewAndNoneIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowSync{}
		s := newSyncer(os.Stdin, slow.sync)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond) // over 5 s
				mine := slow.write()
				if err := s.sync(t.Context()); err != nil {
					t.Error(err)
				}
				slow.mu.Lock()
				defer slow.mu.Unlock()
				if slow.covered < mine {
					t.Errorf("write %d counts as stored, and only %d are", mine, slow.covered)
				}
			})
		}
		wg.Wait()
		if slow.runs > 8 {
			t.Errorf("%d syncs for 100 writes over 5 s of 1 s each", slow.runs)
		}
	})
}

func TestSyncWaitsNoLongerThanItsContextAndFailsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("disk is gone")
		s := newSyncer(os.Stdin, func(*os.File) error { time.Sleep(time.Minute); return disk })
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.sync(t.Context()); !errors.Is(err, disk) {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() { // the first of the second round
			if err := s.sync(t.Context()); !errors.Is(err, disk) {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wg.Wait()
	})
}

// The system tells of a write that failed once, to whichever sync comes next.
func TestAFailedSyncIsToldToAllWhoWereWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := []error{errors.New("a write was lost"), nil, nil}
		s := newSyncer(os.Stdin, func(*os.File) error {
			time.Sleep(time.Second)
			err := results[0]
			results = results[1:]
			return err
		})
		before := s.failures.Load()
		go func() { _ = s.sync(t.Context()) }() // somebody's, which is told
		time.Sleep(2 * time.Second)
		if err := s.syncSince(t.Context(), before); err == nil {
			t.Error("what was being written while a sync failed counts as stored")
		}
		if err := s.syncSince(t.Context(), s.failures.Load()); err != nil {
			t.Errorf("written again: %v", err)
		}
	})
}
