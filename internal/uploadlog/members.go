package uploadlog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// The members' bucket: keys expire, and are refreshed well before.
const (
	membersBucket  = "tapedeck-members"
	memberExpiry   = 2 * time.Second
	memberRefresh  = 500 * time.Millisecond
	memberEchoLost = 3 * time.Second // no echo of our own refresh for so long: watch anew
)

// Members is who is alive, as far as this member can see. It is a hint that keeps
// members from claiming the same partitions: nothing depends on its being right.
//
// Each member refreshes a key of its own in a memory bucket, by compare and swap, so
// that of two with one name the second is refused; and it watches all keys.
// A member is gone when its key was deleted, or when it was not refreshed for 2 s
// while this member's own refreshes came back; a member that hears nothing at all,
// not even itself, keeps the view it has.
type Members struct {
	conn     *bus.Conn
	id       string
	nonce    string // tells this process from another of the same name
	revision uint64 // of our newest refresh that was acknowledged
	replicas int
	log      *slog.Logger

	mu      sync.Mutex
	seen    map[string]time.Time // newest refresh of each member, as it arrived here
	echo    time.Time            // newest refresh of our own
	live    []string             // sorted
	changed chan struct{}        // closed and made anew when live changes
}

// NewMembers makes the view of member id, which must be unique. replicas is that
// of the installation's streams. log may be nil. Run does the work.
func NewMembers(conn *bus.Conn, id string, replicas int, log *slog.Logger) *Members {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Members{conn: conn, id: id, nonce: nuid.Next(), replicas: max(replicas, 1), log: log,
		seen: map[string]time.Time{}, changed: make(chan struct{})}
}

// ID is the member's own id.
func (m *Members) ID() string { return m.id }

// Live is the members that are alive, sorted, and a channel that is closed when
// that is no longer so.
func (m *Members) Live() ([]string, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.live), m.changed
}

// Owners says which of members should own each of p partitions, by rendezvous
// hashing: when a member comes or goes only its own partitions change hands. With
// no members all are "".
func Owners(members []string, p int) []string {
	owners := make([]string, p)
	for i := range owners {
		var best uint64
		for _, id := range members {
			if w := weight(id, i); owners[i] == "" || w > best || (w == best && id < owners[i]) {
				owners[i], best = id, w
			}
		}
	}
	return owners
}

// weight is FNV-1a of member and partition, mixed: FNV alone differs too little in
// its high bits between neighbouring partitions.
func weight(id string, p int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "/" + strconv.Itoa(p)))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Run announces the member and watches the others until ctx is done; then it takes
// its key away, so that the others know at once. Trouble with the bus is logged and
// tried again. It ends with [ErrNameTaken] if another process is alive that has the
// same name: the two would take each other's partitions for their own.
func (m *Members) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := m.session(ctx)
		if errors.Is(err, ErrNameTaken) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			m.log.Warn("member view interrupted", "member", m.id, "err", err)
			select {
			case <-time.After(memberRefresh):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// session opens the bucket and works with it until something fails.
func (m *Members) session(ctx context.Context) error {
	kv, err := m.bucket(ctx)
	if err != nil {
		return err
	}
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch members: %w", err)
	}
	defer func() { _ = watch.Stop() }()
	defer func() {
		// A crash here leaves a key that expires by itself.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), memberRefresh)
		defer cancel()
		if m.revision != 0 {
			_ = kv.Delete(dctx, m.id, jetstream.LastRevision(m.revision))
		}
	}()

	refresh := time.NewTicker(memberRefresh)
	defer refresh.Stop()
	started := time.Now()
	if err := m.announce(ctx, kv); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-watch.Updates():
			if !ok {
				return errors.New("watch members: it ended")
			}
			if e != nil {
				m.update(e.Key(), e.Operation() == jetstream.KeyValuePut, time.Now())
			}
		case now := <-refresh.C:
			if err := m.announce(ctx, kv); err != nil {
				return err
			}
			if m.silent(now, started) {
				return errors.New("watch members: own refreshes do not come back")
			}
			m.expire(now)
		}
	}
}

func (m *Members) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := m.conn.JetStream().CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: membersBucket, Description: "who is alive among the slicers; a hint",
		TTL: memberExpiry, History: 1, Storage: jetstream.MemoryStorage, Replicas: m.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", membersBucket, err)
	}
	return kv, nil
}

func (m *Members) announce(ctx context.Context, kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(ctx, 2*memberExpiry)
	defer cancel()
	theirs, moved := uint64(0), 0
	for {
		err := m.refresh(ctx, kv)
		if code := apiCode(err); code != codeWrongSequence && code != codeInProcess {
			return err
		}
		// Ours with its reply lost, gone, or another's.
		now, err := kv.Get(ctx, m.id)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			m.revision = 0
		case err != nil:
			return fmt.Errorf("read the key of member %s: %w", m.id, err)
		case string(now.Value()) == m.nonce:
			m.revision = now.Revision()
		case theirs != 0 && now.Revision() > theirs && moved > 0:
			return fmt.Errorf("%w: another process announces itself as %q; give each slicer a --member of its own", ErrNameTaken, m.id)
		default:
			// One that was killed a moment ago leaves a key that is refreshed no
			// more, and soon expires. Once could be a replica that caught up.
			if theirs != 0 && now.Revision() > theirs {
				moved++
			}
			theirs = max(theirs, now.Revision())
		}
		select {
		case <-time.After(memberRefresh / 2):
		case <-ctx.Done():
			return fmt.Errorf("announce member %s: %w", m.id, ctx.Err())
		}
	}
}

// refresh writes the key, if it is as this member left it.
func (m *Members) refresh(ctx context.Context, kv jetstream.KeyValue) (err error) {
	var rev uint64
	if m.revision == 0 {
		rev, err = kv.Create(ctx, m.id, []byte(m.nonce))
	} else {
		rev, err = kv.Update(ctx, m.id, []byte(m.nonce), m.revision)
	}
	if err != nil {
		return fmt.Errorf("announce member %s: %w", m.id, err)
	}
	m.revision = rev
	return nil
}

// silent says whether our own refreshes have not come back for too long.
func (m *Members) silent(now, started time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.echo
	if last.Before(started) {
		last = started
	}
	return now.Sub(last) > memberEchoLost
}

// update takes note of one refresh or deletion.
func (m *Members) update(id string, alive bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !alive {
		delete(m.seen, id)
		m.publish()
		return
	}
	if id == m.id {
		if now.Sub(m.echo) > 2*memberRefresh {
			// We were away, not they: give each a new term.
			for other := range m.seen {
				m.seen[other] = now
			}
		}
		m.echo = now
	}
	_, known := m.seen[id]
	m.seen[id] = now
	if !known {
		m.publish()
	}
}

// expire drops members that were not refreshed while we were.
func (m *Members) expire(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.echo) > 2*memberRefresh {
		return
	}
	before := len(m.seen)
	for id, at := range m.seen {
		if m.echo.Sub(at) > memberExpiry {
			delete(m.seen, id)
		}
	}
	if len(m.seen) != before {
		m.publish()
	}
}

// publish rebuilds live and wakes those who wait for a change. mu is held.
func (m *Members) publish() {
	live := make([]string, 0, len(m.seen))
	for id := range m.seen {
		live = append(live, id)
	}
	slices.Sort(live)
	if slices.Equal(live, m.live) {
		return
	}
	m.live = live
	close(m.changed)
	m.changed = make(chan struct{})
}
