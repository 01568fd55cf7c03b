package slicer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A blindStore does not say what it holds of one session.
type blindStore struct {
	PartStore
	sid   string
	blind atomic.Bool
	takes time.Duration // to say what it holds of any
}

func (b *blindStore) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if b.blind.Load() && strings.Contains(key, b.sid) {
		return nil, errors.New("403 access denied")
	}
	select {
	case <-time.After(b.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return b.PartStore.Get(ctx, key)
}

// newBlindRig has a store that does not say what it holds of session unknown.
func newBlindRig(t *testing.T) (*rig, *blindStore) {
	r := newRig(t, 1)
	store := &blindStore{PartStore: r.store, sid: "unknown"}
	store.blind.Store(true)
	r.parts = store
	return r, store
}

// recordsBeside starts a slicer, which records other whatever is there already.
func (r *rig) recordsBeside(other *producer) {
	r.t.Helper()
	time.Sleep(time.Millisecond)
	n := r.start()
	within(r.t, 30*time.Second, "a lease", func() bool { return n.claims.get(0) != nil })
	other.prints(3, 100)
	other.end()
	other.verify()
}

// A session that cannot be looked up holds up no other, and is recorded whole once
// it can be.
func TestSessionThatCannotBeLookedUpIsSetAside(t *testing.T) {
	r, store := newBlindRig(t)
	r.cfg.KeepTime = 0 // what is there already is old
	p, other := r.session("unknown"), r.session("other")
	p.prints(100, 40<<10)
	r.recordsBeside(other)
	if got := r.cursor(0); got != 0 {
		t.Errorf("cursor at %d, before it is known what session the first messages are of", got)
	}
	store.blind.Store(false)
	p.end()
	p.verify()
}

// Nor do many of them of which none has many messages, but all together have.
func TestSessionsThatCannotBeLookedUpHoldUpNoOther(t *testing.T) {
	r, store := newBlindRig(t)
	r.cfg.KeepTime = 0 // what is there already is old
	other := r.session("other")
	var ps []*producer
	for i := range 20 {
		p := r.session(fmt.Sprintf("unknown-%d", i))
		p.prints(12, 40<<10) // half of what a single one may have
		ps = append(ps, p)
	}
	r.recordsBeside(other)
	store.blind.Store(false)
	for _, p := range ps {
		p.end()
	}
	for _, p := range ps {
		p.verify()
	}
}

// A session of which more is there than may wait for the answer is read, however long
// that takes: as long as reading waits for it, or longer.
func TestSessionThatIsLookedUpSlowlyIsRecorded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes time.Duration
	}{{"while reading waits", 200 * time.Millisecond}, {"after it was set aside", maxHeld + 500*time.Millisecond}} {
		t.Run(tt.name, func(t *testing.T) {
			r, store := newBlindRig(t)
			r.cfg.KeepTime = 0 // what is there already is old
			store.blind.Store(false)
			store.takes = tt.takes
			r.cfg.IdleCheckpoint, r.cfg.Holdback = time.Minute, time.Minute // nothing of one is durable when the other is asked about
			p, other := r.session("known"), r.session("other")
			p.prints(60, 40<<10)
			other.prints(60, 40<<10)
			time.Sleep(time.Millisecond)
			r.start()
			time.Sleep(4 * tt.takes)
			p.end()
			other.end()
			p.verify()
			other.verify()
		})
	}
}

// Nor does one hold anything up whose first message was lost, however much comes of it:
// it is recorded from where it is, after a while.
func TestSessionWithoutABeginningIsNotSetAside(t *testing.T) {
	r, _ := newBlindRig(t)
	r.start()
	p := r.session("unknown")
	p.next = 7
	p.prints(100, 40<<10)
	p.end()
	res := p.verify()
	if want := []bus.Gap{{From: 0, To: 7}}; !slices.Equal(res.state.Gaps, want) {
		t.Errorf("gaps %v, want %v", res.state.Gaps, want)
	}
}

// A bucket that is away for a moment does not make a session that is over one that
// was never recorded.
func TestWithoutABucketNobodyKnowsWhetherASessionIsOver(t *testing.T) {
	r := newRig(t, 1)
	opt := r.store.Options()
	opt.Bucket = "no-such-bucket"
	away, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = away.Close() })
	r.parts = away
	n := r.start()
	if k, err := newPartition(t.Context(), n.shared, 0, nil).lookUp(t.Context(), "over"); !errors.Is(err, s3store.ErrNoBucket) {
		t.Errorf("%v, %v; want ErrNoBucket", k, err)
	}
}
