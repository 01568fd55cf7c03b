package slicer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A countingStore counts the parts that are on their way at once, in all and of each
// key. It holds them until gate is closed, and a moment longer.
type countingStore struct {
	PartStore
	gate chan struct{}

	mu           sync.Mutex
	now          map[string]int
	all          int
	most, mostOf int // at once, in all and of one key
}

func (s *countingStore) PutPart(ctx context.Context, key, id string, n int, body []byte) (s3store.Part, error) {
	s.count(key, 1)
	defer s.count(key, -1)
	select {
	case <-s.gate:
	case <-ctx.Done():
		return s3store.Part{}, ctx.Err()
	}
	time.Sleep(50 * time.Millisecond)
	return s.PartStore.PutPart(ctx, key, id, n, body)
}

func (s *countingStore) count(key string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[key] += n
	s.all += n
	s.most, s.mostOf = max(s.most, s.all), max(s.mostOf, s.now[key])
}

func (s *countingStore) highest() [2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return [2]int{s.most, s.mostOf}
}

// As many parts are on their way at once as may be, and never more: over all partitions
// of a slicer, and of one session.
func TestPartsOnTheirWayAtOnce(t *testing.T) {
	tests := []struct {
		name                string
		uploads, perSession int
		sessions, parts     int    // of each session, and then a smaller one; not so many that reading stops
		want                [2]int // at once, in all and of one session
	}{
		{"the slicer's limit", 5, 2, 4, 2, [2]int{5, 2}},
		{"the session's limit", 16, 2, 2, 3, [2]int{4, 2}},
		{"one at a time", 1, 1, 2, 1, [2]int{1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 2)
			r.cfg.Uploads, r.cfg.UploadsPerSession = tt.uploads, tt.perSession
			store := &countingStore{PartStore: r.store, gate: make(chan struct{}), now: map[string]int{}}
			r.parts = store
			n := r.start()
			var ps []*producer
			for i := range tt.sessions {
				p := r.session(fmt.Sprintf("s-%d", i))
				p.prints(140*tt.parts, 40<<10)
				p.end()
				ps = append(ps, p)
			}
			within(t, 2*time.Minute, "all is read and the store has what it may have", func() bool {
				return n.read(0) == r.lastSeq(0) && n.read(1) == r.lastSeq(1) && store.highest()[0] >= tt.want[0]
			})
			close(store.gate)
			for _, p := range ps {
				if got := len(p.verify().parts); got < tt.parts {
					t.Errorf("session %s has %d parts, want %d at least", p.sid, got, tt.parts)
				}
			}
			if got := store.highest(); got != tt.want {
				t.Errorf("%d parts at once and %d of one session, want %d and %d", got[0], got[1], tt.want[0], tt.want[1])
			}
		})
	}
}
