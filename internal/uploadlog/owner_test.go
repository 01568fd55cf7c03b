package uploadlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestOfManyClaimsOneWins(t *testing.T) {
	conn := connect(t)
	for round := range 5 {
		prev, err := ReadLease(t.Context(), conn, 0)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		owners := make([]*Owner, 16)
		for i := range owners {
			wg.Go(func() {
				o, err := Claim(t.Context(), conn, 0, fmt.Sprintf("m%d", i), &prev, "race")
				if err != nil && !errors.Is(err, ErrLost) {
					t.Errorf("claim: %v", err)
				}
				owners[i] = o
			})
		}
		wg.Wait()
		var winner *Owner
		for _, o := range owners {
			if o == nil {
				continue
			}
			if winner != nil {
				t.Fatalf("round %d: two winners, fences %d and %d", round, winner.Fence(), o.Fence())
			}
			winner = o
		}
		now, err := ReadLease(t.Context(), conn, 0)
		if err != nil || winner == nil || now.Seq != winner.Fence() || now.Free {
			t.Fatalf("round %d: lease %+v, %v; winner %+v", round, now, err, winner)
		}
		if _, err := winner.Append(t.Context(), base(sidOf(round), 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnOwnerThatWasReplacedStoresNothing(t *testing.T) {
	tests := []struct {
		name  string
		write func(ctx context.Context, o *Owner) error
	}{
		{"one record", func(ctx context.Context, o *Owner) error {
			_, err := o.Append(ctx, base("s1", 1))
			return err
		}},
		{"a batch", func(ctx context.Context, o *Owner) error {
			_, err := o.Append(ctx, base("s1", 1), base("s2", 1), Record{Kind: bus.KindCheckpoint, State: state("s3", 1), Payload: []byte("x")})
			return err
		}},
		{"a batch of the largest size", func(ctx context.Context, o *Owner) error {
			recs := make([]Record, MaxBatch)
			for i := range recs {
				recs[i] = base(sidOf(i), 1)
			}
			_, err := o.Append(ctx, recs...)
			return err
		}},
		{"the cursor", func(ctx context.Context, o *Owner) error { return o.WriteCursor(ctx, bus.Cursor{Seq: 1}) }},
		{"the cursor within a batch", func(ctx context.Context, o *Owner) error {
			_, err := o.Append(ctx, base("s1", 1), Record{Cursor: &bus.Cursor{Seq: 7}})
			return err
		}},
		{"a release", func(ctx context.Context, o *Owner) error { return o.Release(ctx) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := connect(t)
			old := claim(t, conn, "old")
			if _, err := old.Append(t.Context(), base("s0", 0)); err != nil {
				t.Fatal(err)
			}
			fresh := claim(t, conn, "new")
			n, last := messages(t, conn)
			if err := tt.write(t.Context(), old); !errors.Is(err, ErrFenced) {
				t.Fatalf("old owner's write: %v, want ErrFenced", err)
			}
			if n2, last2 := messages(t, conn); n2 != n || last2 != last {
				t.Fatalf("old owner stored something: %d messages up to %d, then %d up to %d", n, last, n2, last2)
			}
			// It stays so, and the new owner is not held up.
			if _, err := old.Append(t.Context(), base("s0", 1)); !errors.Is(err, ErrFenced) {
				t.Fatalf("old owner's second write: %v, want ErrFenced", err)
			}
			if err := tt.write(t.Context(), fresh); err != nil {
				t.Fatalf("new owner's write: %v", err)
			}
		})
	}
}

// The server checks every expectation of a batch under one lock when the last
// message comes, so where in the batch the fence stands makes no difference, and one
// is enough.
func TestAnyFenceInABatchKeepsAllOfItOut(t *testing.T) {
	conn := connect(t)
	old := claim(t, conn, "old")
	claim(t, conn, "new")
	for _, fenced := range []int{0, 1, 2} {
		msgs, err := old.messages([]Record{base("s1", 1), base("s2", 1), base("s3", 1)})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range msgs {
			if i != fenced {
				m.Header.Del(jetstream.ExpectedLastSubjSeqHeader)
				m.Header.Del(jetstream.ExpectedLastSubjSeqSubjHeader)
			}
		}
		n, _ := messages(t, conn)
		if _, err := send(t.Context(), conn, msgs); apiCode(err) != codeWrongSequence {
			t.Fatalf("batch fenced at message %d: %v, want %d", fenced, err, codeWrongSequence)
		}
		if n2, _ := messages(t, conn); n2 != n {
			t.Fatalf("batch fenced at message %d: %d messages stored", fenced, n2-n)
		}
	}
}

func TestABatchIsStoredInOneRun(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	var recs []Record
	for i := range 100 {
		recs = append(recs, base(sidOf(i), int64(i)))
	}
	seqs, err := o.Append(t.Context(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, seq := range seqs {
		m, err := get(t.Context(), conn, map[string]any{"seq": seq})
		if err != nil || m.Subject != bus.LogSubject(0, sidOf(i)) {
			t.Fatalf("record %d at %d: %s, %v", i, seq, m.Subject, err)
		}
	}
}

func TestWritesOfOneOwnerTakeTurns(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := o.Append(t.Context(), base(sidOf(i), 1), base(sidOf(i), 2)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l, err := o.Load(t.Context())
	if err != nil || len(l.Sessions) != 50 {
		t.Fatalf("%d sessions, %v", len(l.Sessions), err)
	}
}

func TestARecordThatIsTooLargeIsNotSent(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	n, _ := messages(t, conn)
	big := state("s", 1)
	for i := range int64(5000) {
		big.Gaps = append(big.Gaps, bus.Gap{From: 2 * i, To: 2*i + 1})
	}
	for name, recs := range map[string][]Record{
		"payload": {{Kind: bus.KindCheckpoint, State: state("s", 1), Payload: make([]byte, 2<<20)}},
		"state":   {{Kind: bus.KindBase, State: big}},
		"batch":   make([]Record, MaxBatch+1),
	} {
		if _, err := o.Append(t.Context(), recs...); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
	if n2, _ := messages(t, conn); n2 != n {
		t.Errorf("%d messages stored", n2-n)
	}
	if _, err := o.Append(t.Context(), base("s", 1)); err != nil {
		t.Errorf("the owner cannot go on: %v", err)
	}
}

func TestAFullStreamRefusesAndTheOwnerCanGoOn(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	s, err := conn.JetStream().Stream(t.Context(), bus.StreamUploads)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	limit := cfg.MaxBytes
	cfg.MaxBytes = 10_000
	if _, err := conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	big := Record{Kind: bus.KindCheckpoint, State: state("s", 1), Payload: make([]byte, 20_000)}
	if _, err := o.Append(t.Context(), big); !errors.Is(err, ErrRefused) {
		t.Fatalf("single: %v, want ErrRefused", err)
	}
	n, _ := messages(t, conn)
	if _, err := o.Append(t.Context(), base("s", 0), big); !errors.Is(err, ErrRefused) {
		t.Fatalf("batch: %v, want ErrRefused", err)
	}
	if n2, _ := messages(t, conn); n2 != n {
		t.Fatalf("%d messages of a refused batch stored", n2-n)
	}
	cfg.MaxBytes = limit
	if _, err := conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Append(t.Context(), base("s", 0), big); err != nil {
		t.Fatalf("after there is room: %v", err)
	}
}

func TestNoAnswerEndsTheOwnership(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	if err := conn.JetStream().DeleteStream(t.Context(), bus.StreamUploads); err != nil {
		t.Fatal(err)
	}
	_, err := o.Append(t.Context(), base("s", 0))
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("%v, want ErrUnknown for no responders", err)
	}
	if _, again := o.Append(t.Context(), base("s", 0)); again == nil || again.Error() != err.Error() {
		t.Fatalf("second write: %v, want the first error again", again)
	}
}

// A claim whose answer is lost may be stored, and may not. Both are told apart by
// its nonce, and the caller never owns a partition that it does not.
func TestAClaimWithoutAnAnswerIsReadBack(t *testing.T) {
	for _, storedIt := range []bool{true, false} {
		t.Run(fmt.Sprintf("stored %v", storedIt), func(t *testing.T) {
			conn := connect(t)
			prev, err := ReadLease(t.Context(), conn, 0)
			if err != nil {
				t.Fatal(err)
			}
			lease := bus.Lease{V: 1, Owner: "m", Nonce: "mine"}
			if storedIt {
				// As a first try did whose answer got lost.
				if _, err := swapLease(t.Context(), conn, 0, prev.Seq, lease); err != nil {
					t.Fatal(err)
				}
			}
			seq, err := swapLease(t.Context(), conn, 0, prev.Seq, lease)
			if err != nil {
				t.Fatal(err)
			}
			now, err := ReadLease(t.Context(), conn, 0)
			if err != nil || now.Seq != seq || now.Nonce != "mine" {
				t.Fatalf("lease %+v, %v; claimed %d", now, err, seq)
			}
			if _, err := swapLease(t.Context(), conn, 0, prev.Seq, bus.Lease{V: 1, Owner: "other", Nonce: "other"}); !errors.Is(err, ErrLost) {
				t.Fatalf("another claim from before: %v, want ErrLost", err)
			}
		})
	}
}

func TestReleaseLetsAnotherClaim(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "a")
	if err := o.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := ReadLease(t.Context(), conn, 0)
	if err != nil || !info.Free || info.Seq <= o.Fence() {
		t.Fatalf("lease %+v, %v", info, err)
	}
	if _, err := o.Append(t.Context(), base("s", 0)); !errors.Is(err, ErrFenced) {
		t.Fatalf("append after release: %v, want ErrFenced", err)
	}
	if _, err := Claim(t.Context(), conn, 0, "b", &info, ""); err != nil {
		t.Fatal(err)
	}
}

// Deleting what is superseded may take long. The next owner must not wait for it,
// nor the process that is told to stop.
func TestReleaseDoesNotWaitForDeletesBeyondItsContext(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "a")
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop) // before the owner is waited for
	seqs := make([]uint64, maxDoomed)
	for i := range seqs {
		seqs[i] = 1 << 40
	}
	o.Forget(ctx, seqs...)
	start := time.Now()
	if err := o.Release(short(t, 300*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Release took %s", took)
	}
	if info, err := ReadLease(t.Context(), conn, 0); err != nil || !info.Free {
		t.Fatalf("lease %+v, %v", info, err)
	}
}

func TestCursorAndLeaseKeepOneRecord(t *testing.T) {
	conn := connect(t)
	for round := range 3 {
		o := claim(t, conn, "m")
		if _, err := o.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := o.WriteCursor(t.Context(), bus.Cursor{Seq: uint64(100*round + i)}); err != nil {
				t.Fatal(err)
			}
		}
		o.Wait()
		if n, _ := messages(t, conn); n != 2 {
			t.Fatalf("round %d: %d messages, want lease and cursor", round, n)
		}
	}
	c, _, err := ReadCursor(t.Context(), conn, 0)
	if err != nil || c.Seq != 219 {
		t.Fatalf("cursor %+v, %v", c, err)
	}
}

func TestForgetDeletesAndDoesNotWait(t *testing.T) {
	conn := connect(t)
	o := claim(t, conn, "m")
	var seqs []uint64
	for i := range 200 {
		s, err := o.Append(t.Context(), base("s", int64(i)))
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s...)
	}
	start := time.Now()
	o.Forget(t.Context(), seqs[:199]...)
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("Forget waited %s", took)
	}
	o.Wait()
	if n, _ := messages(t, conn); n != 2 {
		t.Fatalf("%d messages, want the lease and one record", n)
	}
}

func TestAnIdleOwnerLearnsThatItWasReplaced(t *testing.T) {
	conn := connect(t)
	old := claim(t, conn, "old")
	if err := old.Check(t.Context()); err != nil {
		t.Errorf("while it owns the partition: %v", err)
	}
	claim(t, conn, "new")
	if err := old.Check(t.Context()); !errors.Is(err, ErrFenced) {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := old.Append(t.Context(), base("s", 1)); !errors.Is(err, ErrFenced) {
		t.Errorf("its next write: %v", err)
	}
}
