package slicer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestTakeover(t *testing.T) {
	tests := []struct {
		name string
		end  func(n *node)
		in   time.Duration
	}{
		{"after a graceful leave", (*node).leave, 1500 * time.Millisecond},
		{"after a kill", (*node).kill, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 2)
			first := r.start()
			ps := feed(r, 6)
			within(t, 30*time.Second, "parts of the first owner", func() bool { return len(r.entries("s-0")) >= 2 })
			second := r.start()
			within(t, 30*time.Second, "both members", func() bool { live, _ := second.members.Live(); return len(live) == 2 })
			began := time.Now()
			tt.end(first)
			for p := range 2 {
				within(t, tt.in, "second owner", func() bool {
					l, err := uploadlog.ReadLease(t.Context(), r.conn, p)
					return err == nil && l.Owner == second.Member()
				})
			}
			t.Logf("took %v", time.Since(began))
			finishAll(ps)
		})
	}
}

// feed starts sessions of several sizes, the first one beyond its first part.
func feed(r *rig, n int) []*producer {
	var ps []*producer
	for i := range n {
		p := r.session(fmt.Sprintf("s-%d", i))
		if i == 0 {
			p.prints(140, 40<<10)
		}
		p.prints(20+i, 2000*i+1)
		ps = append(ps, p)
	}
	return ps
}

// finishAll goes on with the sessions, ends them and verifies them.
func finishAll(ps []*producer) {
	for i, p := range ps {
		p.prints(5+i, 700)
		if i == 1 {
			p.prints(140, 40<<10)
		}
		p.end()
	}
	for _, p := range ps {
		p.verify()
	}
}

func TestRestartFindsEverythingCheckpointed(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.IdleCheckpoint = time.Hour
	r.cfg.Holdback = time.Hour
	n := r.start()
	ps := feed(r, 5)
	within(t, 30*time.Second, "all read", func() bool { return n.read(0) == r.lastSeq(0) })
	n.leave()
	if got, want := r.cursor(0), r.lastSeq(0); got != want {
		t.Errorf("cursor at %d of %d after a graceful stop", got, want)
	}
	l, err := uploadlog.ReadLease(t.Context(), r.conn, 0)
	if err != nil || !l.Free {
		t.Errorf("lease %+v, %v", l, err)
	}
	r.start()
	finishAll(ps)
}

// A zombie is an owner that works on while another has claimed its partition.
func TestZombieIsFencedOut(t *testing.T) {
	r := newRig(t, 1)
	first := r.start()
	ps := feed(r, 4)
	within(t, 30*time.Second, "parts of the first owner", func() bool { return len(r.entries("s-0")) >= 2 })
	// The other claims behind the first's back and works at the same time.
	var owner *uploadlog.Owner
	var loaded uploadlog.Loaded
	within(t, 30*time.Second, "a claim that the first does not take back before its log is loaded", func() bool {
		var err error
		if owner, err = uploadlog.Claim(t.Context(), r.conn, 0, "other", nil, "test"); err == nil {
			loaded, err = owner.Load(t.Context())
		}
		if err != nil && !errors.Is(err, uploadlog.ErrFenced) && !errors.Is(err, uploadlog.ErrLost) {
			t.Fatal(err)
		}
		return err == nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newPartition(ctx, first.shared, 0, owner).run(ctx, loaded) }()
	for _, p := range ps {
		p.prints(100, 5000)
	}
	// The first notices, claims again, and so fences the other out in turn. An owner
	// learns of it by writing, so there is always something new to be written.
	within(t, 30*time.Second, "the other fenced out", func() bool {
		select {
		case err := <-done:
			if err == nil {
				t.Error("the other was not fenced out")
			}
			return true
		default:
			ps[0].prints(1, 5000)
			return false
		}
	})
	cancel()
	finishAll(ps)
}

// An owner that was fenced out and has nothing to write gives up all the same.
func TestIdleZombieGivesUp(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("idle")
	p.prints(3, 100)
	within(t, 30*time.Second, "all is durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
	n.leave()
	owner, err := uploadlog.Claim(t.Context(), r.conn, 0, "zombie", nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := owner.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- newPartition(t.Context(), n.shared, 0, owner).run(t.Context(), loaded) }()
	if _, err := uploadlog.Claim(t.Context(), r.conn, 0, "other", nil, "test"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, uploadlog.ErrFenced) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not notice")
	}
}

// Of two slicers with one name the second is refused, and the first works on.
func TestNameThatIsTaken(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.Member = "same"
	r.start()
	p := r.session("s")
	p.prints(3, 100)
	within(t, 30*time.Second, "first owner", func() bool { return r.cursor(0) > 0 })
	lease, err := uploadlog.ReadLease(t.Context(), r.conn, 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(r.cfg, Deps{Conn: r.dial(), Layout: r.layout, Store: r.parts, Log: r.log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := second.Run(ctx); !errors.Is(err, uploadlog.ErrNameTaken) {
		t.Errorf("the second ended with %v", err)
	}
	if now, err := uploadlog.ReadLease(t.Context(), r.conn, 0); err != nil || now.Seq != lease.Seq {
		t.Errorf("lease %+v, %v; want the first's", now, err)
	}
	p.prints(3, 100)
	p.end()
	p.verify()
}

func TestPartitionsMoveWhenMembersComeAndGo(t *testing.T) {
	r := newRig(t, 4)
	nodes := []*node{r.start()}
	ps := feed(r, 12)
	for range 2 {
		nodes = append(nodes, r.start())
	}
	owners := func() map[string]int {
		out := map[string]int{}
		for p := range 4 {
			if l, err := uploadlog.ReadLease(t.Context(), r.conn, p); err == nil && !l.Free {
				out[l.Owner]++
			}
		}
		return out
	}
	want := map[string]int{}
	var ids []string
	for _, n := range nodes {
		ids = append(ids, n.Member())
	}
	for _, id := range uploadlog.Owners(ids, 4) {
		want[id]++
	}
	within(t, 30*time.Second, "leases where rendezvous says", func() bool { return fmt.Sprint(owners()) == fmt.Sprint(want) })
	for _, p := range ps {
		p.prints(30, 3000)
	}
	nodes[0].leave()
	nodes[1].kill()
	finishAll(ps)
}

func TestStateOfANewerVersionIsLeftAlone(t *testing.T) {
	r := newRig(t, 1)
	p, other := r.session("newer"), r.session("ours")
	st := fmt.Sprintf(`{"v":%d,"sid":"newer","p":0,"slices":{"unknown":true}}`, bus.LogVersion+1)
	r.publish(bus.LogSubject(0, "newer"), map[string][]string{bus.HeaderKind: {bus.KindBase}, bus.HeaderState: {st}}, nil)
	first := p.publish(nil, p.frame(100))
	r.start()
	other.prints(3, 100)
	other.end()
	other.verify()
	within(t, 30*time.Second, "cursor before the session's first event", func() bool { return r.cursor(0) == first-1 })
	p.end()
	time.Sleep(300 * time.Millisecond)
	if got := r.cursor(0); got != first-1 {
		t.Errorf("cursor at %d, events of the newer session from %d on", got, first)
	}
}

// A partition that falls to another member is free at once, whatever became of the
// claim: others would wait for its owner, who is alive, until it counts as hung.
func TestPartitionThatMovesAwayIsFree(t *testing.T) {
	// after is when the partition moves, after it was claimed or after a write whose
	// outcome is not known; then its owner has given it up, and would claim it again.
	for name, after := range map[string]struct{ claim, unknown time.Duration }{
		"while it is loaded":         {claim: 1},
		"soon after it is loaded":    {claim: 20 * time.Millisecond},
		"as it is given up":          {unknown: 1},
		"before it is claimed again": {unknown: 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			feed(r, 2)
			s, err := New(r.cfg, Deps{Conn: r.conn, Layout: r.layout, Store: r.parts, Log: r.log})
			if err != nil {
				t.Fatal(err)
			}
			ctx, move := context.WithCancel(t.Context())
			defer move()
			s.wrap = func(_ int, j journal) journal {
				return faultyJournal{j, func([]uploadlog.Record) (error, error) {
					if after.unknown == 0 {
						return nil, nil
					}
					time.AfterFunc(after.unknown-1, move)
					return nil, uploadlog.ErrUnknown
				}}
			}
			if after.claim > 0 {
				go func() {
					for l := (uploadlog.LeaseInfo{}); l.Seq == 0 && ctx.Err() == nil; {
						l, _ = uploadlog.ReadLease(ctx, r.conn, 0)
					}
					time.AfterFunc(after.claim-1, move)
				}()
			}
			s.work(ctx, t.Context(), 0)
			lease, err := uploadlog.ReadLease(t.Context(), r.conn, 0)
			if err != nil || !lease.Free || lease.Seq == 0 {
				t.Errorf("lease %+v, %v; want one that was claimed and is free", lease, err)
			}
		})
	}
}
