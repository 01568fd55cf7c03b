package slicer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var errFault = errors.New("fault")

// A faulty store fails the calls that fault names: before the call does anything
// (refused), or after it is done (its reply was lost). It fails the test when a
// part number is put with other bytes than before.
type faultyStore struct {
	*s3store.Store
	t     *testing.T
	fault func(call, key string, n int) (refuse, lose error)

	mu   sync.Mutex
	puts map[string][]byte
}

func (f *faultyStore) through(call, key string, n int, do func() error) error {
	refuse, lose := f.fault(call, key, n)
	if refuse != nil {
		return refuse
	}
	if err := do(); err != nil {
		return err
	}
	return lose
}

func (f *faultyStore) CreateUpload(ctx context.Context, key string, meta map[string]string) (id string, err error) {
	err = f.through("create", key, 0, func() (err error) { id, err = f.Store.CreateUpload(ctx, key, meta); return err })
	return id, err
}

func (f *faultyStore) PutPart(ctx context.Context, key, id string, n int, body []byte) (part s3store.Part, err error) {
	f.mu.Lock()
	if f.puts == nil {
		f.puts = map[string][]byte{}
	}
	name := fmt.Sprint(id, "/", n)
	if old, ok := f.puts[name]; ok && !bytes.Equal(old, body) {
		f.t.Errorf("part %d of %s put again with other bytes", n, key)
	}
	f.puts[name] = bytes.Clone(body)
	f.mu.Unlock()
	err = f.through("part", key, n, func() (err error) { part, err = f.Store.PutPart(ctx, key, id, n, body); return err })
	return part, err
}

func (f *faultyStore) Put(ctx context.Context, key string, body []byte, ifAbsent bool) error {
	return f.through("put", key, 0, func() error { return f.Store.Put(ctx, key, body, ifAbsent) })
}

// Each call to the store fails once, in two ways: nothing was done, and it was
// done but the reply was lost.
func TestStoreFaults(t *testing.T) {
	for _, call := range []string{"create", "part", "put"} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reply lost %v", call, lost), func(t *testing.T) {
				r := newRig(t, 1)
				var failed atomic.Int64
				var seen sync.Map
				r.parts = &faultyStore{Store: r.store, t: t, fault: func(c, key string, n int) (error, error) {
					if _, again := seen.LoadOrStore(fmt.Sprint(c, key, n), true); again || c != call {
						return nil, nil
					}
					failed.Add(1)
					if lost {
						return nil, errFault
					}
					return errFault, nil
				}}
				r.start()
				ps := feed(r, 4)
				ps[1].publish(nil, []byte("not an event"))
				finishAll(ps)
				within(t, 30*time.Second, "late message", func() bool { return len(r.lates("s-1")) == 1 })
				if failed.Load() == 0 {
					t.Error("no fault happened")
				}
			})
		}
	}
}

// A faulty journal is the upload log with faults in front of and behind its writes.
type faultyJournal struct {
	journal
	fault func(recs []uploadlog.Record) (refuse, lose error)
}

func (f faultyJournal) Append(ctx context.Context, recs ...uploadlog.Record) ([]uint64, error) {
	refuse, lose := f.fault(recs)
	if refuse != nil {
		return nil, refuse
	}
	seqs, err := f.journal.Append(ctx, recs...)
	if err == nil && lose != nil {
		return nil, lose
	}
	return seqs, err
}

// Each kind of record fails, in four ways. After an unknown outcome the partition
// is given up and claimed anew, so this is a crash and a takeover at that step too.
func TestLogFaults(t *testing.T) {
	ways := []struct {
		name         string
		refuse, lose error
	}{
		{"refused", uploadlog.ErrRefused, nil},
		{"unknown and not stored", uploadlog.ErrUnknown, nil},
		{"unknown and stored", nil, uploadlog.ErrUnknown},
		{"fenced", uploadlog.ErrFenced, nil},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := newRig(t, 1)
			r.cfg.IdleCheckpoint = 20 * time.Millisecond
			var mu sync.Mutex
			hit := map[string]int{}
			r.wrap = func(_ int, j journal) journal {
				return faultyJournal{j, func(recs []uploadlog.Record) (error, error) {
					mu.Lock()
					defer mu.Unlock()
					for _, rec := range recs {
						kind := rec.Kind
						if rec.Cursor != nil {
							kind = "cursor"
						}
						if hit[kind] < 1 {
							hit[kind]++
							return way.refuse, way.lose
						}
					}
					return nil, nil
				}}
			}
			r.start()
			ps := feed(r, 5)
			within(t, 30*time.Second, "all durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
			finishAll(ps)
			mu.Lock()
			defer mu.Unlock()
			for _, kind := range []string{bus.KindBase, bus.KindPart, bus.KindCheckpoint, bus.KindEnded, "cursor"} {
				if hit[kind] == 0 {
					t.Errorf("no fault at %s", kind)
				}
			}
		})
	}
}

// Faults at random in every write at once, with owners killed in between.
func TestRandomFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 0))
	dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
	r := newRig(t, 2)
	r.cfg.IdleCheckpoint = 10 * time.Millisecond
	r.cfg.MemoryBudget = 3 << 20
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(string, string, int) (error, error) {
		return []error{errFault, nil, nil, nil, nil}[dice(5)], []error{errFault, nil, nil, nil, nil}[dice(5)]
	}}
	r.wrap = func(_ int, j journal) journal {
		return faultyJournal{j, func([]uploadlog.Record) (error, error) {
			switch dice(60) {
			case 0:
				return uploadlog.ErrRefused, nil
			case 1:
				return uploadlog.ErrUnknown, nil
			case 2:
				return nil, uploadlog.ErrUnknown
			}
			return nil, nil
		}}
	}
	n := r.start()
	var ps []*producer
	for i := range 8 {
		ps = append(ps, r.session(fmt.Sprintf("r-%d", i)))
	}
	for round := range 4 {
		for _, p := range ps {
			p.prints(1+dice(30), 1+dice(30_000))
		}
		if round%2 == 1 {
			n.kill()
			n = r.start()
		} else {
			time.Sleep(time.Duration(dice(300)) * time.Millisecond)
		}
	}
	finishAll(ps)
}

func TestStoreDownForAWhile(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.MemoryBudget = 24 << 20
	r.cfg.CheckpointBudget = 1 << 20
	var down atomic.Bool
	down.Store(true)
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(string, string, int) (error, error) {
		if down.Load() {
			return errFault, nil
		}
		return nil, nil
	}}
	n := r.start()
	ps := feed(r, 3)
	for _, p := range ps {
		p.prints(600, 40<<10) // three times the budget in all
	}
	time.Sleep(time.Second)
	if used := n.mem.used.Load(); used > r.cfg.MemoryBudget*3/2 {
		t.Errorf("%d bytes held, the budget is %d", used, r.cfg.MemoryBudget)
	}
	if kept := n.kept.used.Load(); kept > 2*r.cfg.CheckpointBudget+(4<<20) {
		t.Errorf("%d bytes of checkpoints, the budget is %d", kept, r.cfg.CheckpointBudget)
	}
	down.Store(false)
	finishAll(ps)
}

// Many sessions whose open slices together are far beyond the budget: they are
// checkpointed, let go, and read back for every few events.
func TestSmallMemoryManySessions(t *testing.T) {
	r := newRig(t, 2)
	r.cfg.MemoryBudget = 2 << 20
	n := r.start()
	var ps []*producer
	for i := range 40 {
		ps = append(ps, r.session(fmt.Sprintf("m-%d", i)))
	}
	for range 5 {
		for i, p := range ps {
			p.prints(3, 500+i*400)
		}
	}
	within(t, 40*time.Second, "all durable", func() bool { return r.cursor(0) == r.lastSeq(0) && r.cursor(1) == r.lastSeq(1) })
	if used := n.mem.used.Load(); used > r.cfg.MemoryBudget {
		t.Errorf("%d bytes held, the budget is %d", used, r.cfg.MemoryBudget)
	}
	n.kill()
	r.start()
	finishAll(ps)
}

// An open slice of several megabytes goes into the log in several records, is let
// go, taken over, and becomes one part with what comes after.
func TestLargeCheckpoints(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.Holdback = 30 * time.Millisecond
	r.cfg.IdleCheckpoint = 10 * time.Millisecond
	n := r.start()
	p := r.session("large")
	for range 4 {
		p.prints(25, 40<<10)
		within(t, 30*time.Second, "all durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
		n.kill()
		n = r.start()
	}
	p.prints(60, 40<<10)
	p.end()
	if res := p.verify(); len(res.parts) != 2 {
		t.Errorf("%d parts", len(res.parts))
	}
	st, err := r.conn.JetStream().Stream(t.Context(), bus.StreamUploads)
	if err != nil {
		t.Fatal(err)
	}
	within(t, 30*time.Second, "checkpoints forgotten", func() bool {
		info, err := st.Info(t.Context(), jetstream.WithSubjectFilter(bus.CheckpointSubject(0, "large")))
		return err == nil && len(info.State.Subjects) == 0
	})
}

// abort has the store forget an upload.
func (r *rig) abort(sid string) {
	r.t.Helper()
	log := r.entries(sid)
	u := log[len(log)-1].State.Upload
	if err := r.store.AbortUpload(r.t.Context(), u.Key, u.ID); err != nil {
		r.t.Fatal(err)
	}
}

func TestUploadThatTheStoreForgot(t *testing.T) {
	hasParts := func(r *rig, n int) func() bool {
		return func() bool {
			log := r.entries("gone")
			return len(log) > 0 && log[len(log)-1].State.Upload != nil && log[len(log)-1].State.Upload.Parts >= n
		}
	}
	t.Run("after parts, events still on the bus", func(t *testing.T) {
		r := newRig(t, 1)
		n := r.start()
		p := r.session("gone")
		p.prints(300, 40<<10)
		within(t, 30*time.Second, "two parts", hasParts(r, 2))
		r.abort("gone")
		p.prints(150, 40<<10)
		within(t, 30*time.Second, "a part of the new upload", func() bool {
			log := r.entries("gone")
			first, last := log[0].State.Upload, log[len(log)-1].State.Upload
			return first.ID != last.ID && last.Parts > 0
		})
		n.kill()
		r.start()
		p.prints(10, 1000)
		p.end()
		p.verify()
	})
	t.Run("before the first part", func(t *testing.T) {
		r := newRig(t, 1)
		aborted := make(chan struct{})
		var once sync.Once
		fs := &faultyStore{Store: r.store, t: t}
		fs.fault = func(call, key string, n int) (error, error) {
			if call == "part" {
				once.Do(func() {
					r.abort("gone")
					close(aborted)
				})
			}
			return nil, nil
		}
		r.parts = fs
		r.start()
		p := r.session("gone")
		p.prints(200, 40<<10)
		<-aborted
		p.prints(100, 40<<10)
		p.end()
		p.verify()
	})
	t.Run("after parts, events trimmed", func(t *testing.T) {
		r := newRig(t, 1)
		r.start()
		p := r.session("gone")
		p.prints(300, 40<<10)
		within(t, 30*time.Second, "two parts", hasParts(r, 2))
		st, err := r.conn.JetStream().Stream(t.Context(), bus.EventStream(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
			t.Fatal(err)
		}
		r.abort("gone")
		p.prints(150, 40<<10)
		within(t, 30*time.Second, "the log says that parts are lost", func() bool {
			log := r.entries("gone")
			return log[len(log)-1].Kind == bus.KindLost && log[len(log)-1].State.Ended
		})
		within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(0) == r.lastSeq(0) })
	})
}

// A session whose parts the store refuses holds up nobody else, and goes on when
// they go through.
func TestOneSessionThatTheStoreRefuses(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.ParkAfter = 100 * time.Millisecond
	r.cfg.UploadsPerSession = 1
	var bad atomic.Bool
	bad.Store(true)
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(call, key string, n int) (error, error) {
		if call == "part" && bad.Load() && strings.Contains(key, "refused") {
			return errFault, nil
		}
		return nil, nil
	}}
	n := r.start()
	p := r.session("refused")
	p.prints(900, 40<<10)
	for i := range 3 {
		other := r.session(fmt.Sprintf("other-%d", i))
		other.prints(150, 40<<10)
		other.end()
		other.verify()
	}
	p.prints(300, 40<<10)
	bad.Store(false)
	p.prints(10, 100)
	p.end()
	p.verify()
	within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(0) == r.lastSeq(0) })
	_ = n
}

func TestRecreatedStreamIsNotRead(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("before")
	p.prints(10, 100)
	within(t, 30*time.Second, "all durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
	js := r.conn.JetStream()
	st, err := js.Stream(t.Context(), bus.EventStream(0))
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	was := r.cursor(0)
	// A restored stream has old events again, and new ones.
	for i, e := range p.sent {
		p.publish(nil, slicefmt.AppendFrame(nil, e))
		if i == 5 {
			time.Sleep(300 * time.Millisecond)
		}
	}
	p.prints(5, 100)
	p.end()
	time.Sleep(time.Second)
	if l := r.entries("before"); len(l) != 0 || r.cursor(0) != was {
		t.Errorf("the new stream was read: %d records, cursor %d", len(l), r.cursor(0))
	}
	n.leave()
	r.cfg.AcceptStream = []int{0}
	r.start()
	p.verify()
	if got := r.lates("before"); len(got) != 0 {
		t.Errorf("re-reads were taken for late: %v", got)
	}
}

func TestStreamIsTrimmedUpToTheCursor(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.KeepTime = 300 * time.Millisecond
	r.cfg.TrimEvery = 10 * time.Millisecond
	r.cfg.TrimStep = 4
	r.cfg.IdleCheckpoint = time.Hour
	r.cfg.Holdback = time.Hour
	r.start()
	old, open := r.session("old"), r.session("open")
	for range 20 {
		old.prints(1, 100)
	}
	held := open.publish(nil, open.frame(10))
	for range 20 {
		old.prints(1, 100)
	}
	old.end()
	old.verify()
	st, err := r.conn.JetStream().Stream(t.Context(), bus.EventStream(0))
	if err != nil {
		t.Fatal(err)
	}
	first := func() uint64 {
		info, err := st.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.FirstSeq
	}
	within(t, 30*time.Second, "trimmed up to the open session's event", func() bool { return first() == held })
	time.Sleep(200 * time.Millisecond)
	if got := first(); got != held {
		t.Errorf("stream begins at %d, the oldest event that is not durable is at %d", got, held)
	}
	open.end()
	open.verify()
}

func TestStatusAfterEachCommit(t *testing.T) {
	r := newRig(t, 1)
	var mu sync.Mutex
	var got []int64
	sub, err := r.conn.NATS().SubscribeSync(bus.StatusSubject("n1", "told"))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.conn.NATS().Flush()
	r.start()
	p := r.session("told")
	p.prints(200, 40<<10)
	p.end()
	res := p.verify()
	want := []int64{-1}
	for _, part := range res.parts {
		want = append(want, part.Last)
	}
	for range want {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var st events.StreamStatus
		if err := proto.Unmarshal(m.Data, &st); err != nil || st.UploadId != res.state.Upload.ID {
			t.Fatalf("%v, upload %q", err, st.UploadId)
		}
		mu.Lock()
		got = append(got, st.LastEventIndex)
		mu.Unlock()
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

// A checkpoint that is gone cannot be read the next time either: with no part
// committed too, the session is recorded anew from its first event.
func TestLostCheckpointBeforeTheFirstPart(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.IdleCheckpoint = 20 * time.Millisecond
	var uploads atomic.Int64
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(call, key string, _ int) (error, error) {
		if call == "create" {
			uploads.Add(1)
		}
		return nil, nil
	}}
	r.start()
	p := r.session("chain")
	p.prints(20, 40<<10)
	within(t, 30*time.Second, "checkpoint", func() bool { return r.cursor(0) == r.lastSeq(0) })
	st, err := r.conn.JetStream().Stream(t.Context(), bus.StreamUploads)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), bus.CheckpointSubject(0, "chain"))
	if err != nil {
		t.Fatal(err)
	}
	p.prints(20, 40<<10)
	within(t, 30*time.Second, "checkpoint", func() bool { return r.cursor(0) == r.lastSeq(0) })
	if err := st.DeleteMsg(t.Context(), m.Sequence); err != nil {
		t.Fatal(err)
	}
	p.prints(120, 40<<10)
	p.end()
	p.verify()
	if n := uploads.Load(); n != 2 {
		t.Errorf("%d uploads created, want the first and the one that began anew", n)
	}
}
