package s3store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// A syncer syncs a file system for many at once: whoever comes while a sync
// runs waits for the next one, which then covers all of them.
type syncer struct {
	dir *os.File // kept open: errors of writing back are reported once per open file
	do  func(*os.File) error

	failures atomic.Uint64 // of syncs

	running chan struct{} // holds one while a sync runs
	mu      sync.Mutex
	next    *syncRound // the round that newcomers join; nil if there is none yet
}

type syncRound struct {
	done chan struct{}
	err  error
}

func openSyncer(dir string) (*syncer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory to sync: %w", err)
	}
	return newSyncer(f, syncFS), nil
}

func newSyncer(dir *os.File, do func(*os.File) error) *syncer {
	return &syncer{dir: dir, do: do, running: make(chan struct{}, 1)}
}

func (s *syncer) close() error { return s.dir.Close() }

// syncSince is sync for what was begun to be written after so many failures. The
// system tells of what it could not write back once: to a sync of others it may have
// told that ours is lost.
func (s *syncer) syncSince(ctx context.Context, failures uint64) error {
	if err := s.sync(ctx); err != nil {
		return err
	}
	if s.failures.Load() != failures {
		return fmt.Errorf("the file system of %s could not be synced while this was written; it may be lost", s.dir.Name())
	}
	return nil
}

// sync returns nil when everything written before the call is on disk. The
// first of a round runs it and does so to the end, since others wait for it.
func (s *syncer) sync(ctx context.Context) error {
	s.mu.Lock()
	r, first := s.next, false
	if r == nil {
		r, first = &syncRound{done: make(chan struct{})}, true
		s.next = r
	}
	s.mu.Unlock()
	if first {
		s.run(r)
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *syncer) run(r *syncRound) {
	s.running <- struct{}{}
	defer func() { <-s.running }()
	s.mu.Lock()
	s.next = nil // who comes from here on has written after this sync began
	s.mu.Unlock()
	if err := s.do(s.dir); err != nil {
		s.failures.Add(1)
		r.err = fmt.Errorf("sync the file system of %s: %w", s.dir.Name(), err)
	}
	close(r.done)
}
