package accesslog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// faultyLedger kills the process at a write of the ledger, or fails writes.
type faultyLedger struct {
	ledgerStore
	n     atomic.Int64
	fault func(n int) (stored bool, err error)
}

func (f *faultyLedger) Save(ctx context.Context, sink string, l ledger, prev uint64) (uint64, error) {
	stored, err := f.fault(int(f.n.Add(1)))
	if stored {
		rev, saveErr := f.ledgerStore.Save(ctx, sink, l, prev)
		if err == nil {
			err = saveErr
		}
		return rev, err
	}
	return 0, err
}

// The steps of a lane that leave something behind are writes of the ledger and
// sends; a crash anywhere else is the same as one before the next of them.
func TestACrashAtAnyStepSendsTheSameBatchesAgain(t *testing.T) {
	for _, step := range []string{"ledger", "sink"} {
		for _, stored := range []bool{false, true} {
			for n := 1; n <= 4; n++ {
				t.Run(fmt.Sprintf("%s-%d-%v", step, n, stored), func(t *testing.T) { testCrash(t, step, n, stored) })
			}
		}
	}
}

func testCrash(t *testing.T, step string, n int, stored bool) {
	w := newWorld(t)
	w.publish(330, 70)
	cfg := testConfig("s3,in-flight=2")
	sink := newCollector(t)
	var p *process
	crashed := make(chan struct{})
	crash := func(i int) (bool, error) {
		switch {
		case i < n:
			return true, nil
		case i == n:
			close(crashed)
			return stored, context.Canceled
		}
		return false, context.Canceled
	}
	deps := Deps{Store: noStore{}, wrapSink: sink.wrap}
	if step == "sink" {
		sink.fault = func(i int, _ *Batch) (bool, error) { return crash(i) }
	} else {
		deps.wrapLedger = func(s ledgerStore) ledgerStore { return &faultyLedger{ledgerStore: s, fault: crash} }
	}
	p = w.start(cfg, deps)
	<-crashed
	p.kill()
	sink.mu.Lock()
	sink.fault = nil
	sink.mu.Unlock()

	w.publish(60, 70)
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
	eventually(t, func() bool { return w.acked("s3") })
}

// noStore stands in for a store where the sink is replaced.
type noStore struct{ ObjectStore }

func TestASinkThatFailsHalfTheTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stored bool
	}{
		{"refused", false},
		{"done, reply lost", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			sink := newCollector(t)
			sink.fault = func(int, *Batch) (bool, error) {
				if rand.N(2) == 0 {
					return true, nil
				}
				return tt.stored, errTest
			}
			w.publish(3000, 130)
			w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap})
			sink.check(w.ended)
		})
	}
}

func TestALedgerThatFailsHalfTheTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stored bool
	}{
		{"refused", false},
		{"done, reply lost", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			sink := newCollector(t)
			w.publish(2000, 130)
			w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap, wrapLedger: func(s ledgerStore) ledgerStore {
				return &faultyLedger{ledgerStore: s, fault: func(int) (bool, error) {
					if rand.N(2) == 0 {
						return true, nil
					}
					return tt.stored, errTest
				}}
			}})
			sink.check(w.ended)
		})
	}
}

// Fault 6 of the field: no acknowledgement, no batch id, nothing persisted, so
// that a kill loses what was gathered.
func TestFault6KilledAtRandomUnderLoadNothingIsLostOrDoubled(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	sink.fault = func(int, *Batch) (bool, error) {
		switch rand.N(4) {
		case 0:
			return false, errTest
		case 1:
			return true, errTest
		}
		return true, nil
	}
	cfg := testConfig("s3")
	for round := range 12 {
		p := w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
		for range 1 + rand.N(5) {
			w.publish(rand.N(300), 1+rand.N(200))
		}
		if round%4 == 3 {
			p.stop()
		} else {
			p.kill()
		}
	}
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
}
