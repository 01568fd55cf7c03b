package bus

import (
	"testing"
	"time"
)

// A paced is a pace that a test's clock drives.
type paced struct {
	pace
	now time.Time
}

func newPaced() *paced { return &paced{pace: newPace(), now: time.Unix(1_000_000, 0)} }

// answers takes n answers, one each step, to messages that were sent so long before.
func (p *paced) answers(n int, step, took time.Duration, inFlight int) {
	for range n {
		p.now = p.now.Add(step)
		p.answered(p.now, p.now.Add(-took), inFlight)
	}
}

func (p *paced) mustGather(t *testing.T, want bool) {
	t.Helper()
	if p.gather != want {
		t.Fatalf("gather = %v with window %d, to be tried again after %d turns; want %v", p.gather, p.window, p.tryAt, want)
	}
}

// fail has p try messages by themselves and find that ever more wait.
func (p *paced) fail(t *testing.T) {
	t.Helper()
	p.turns = p.tryAt
	p.turn(p.now, 30)
	p.mustGather(t, false)
	p.now = p.now.Add(firstPatience + 1)
	p.turn(p.now, 60) // while the window grows more may come to wait
	p.mustGather(t, false)
	p.turn(p.now.Add(firstPatience), 1000)
	p.mustGather(t, false)
	p.now = p.now.Add(firstPatience + 1)
	p.turn(p.now, 60+minBatch)
	p.mustGather(t, false)
	p.turn(p.now, 60+minBatch+1)
	p.mustGather(t, true)
}

func TestWindowGrowsWhileAnswersAreQuickAndItIsUsed(t *testing.T) {
	p := newPaced()
	p.answers(1000, time.Millisecond, time.Millisecond, 3)
	if p.singles() != minSingles {
		t.Errorf("%d in flight after answers to three at a time, want %d", p.singles(), minSingles)
	}
	p.answers(100, time.Millisecond, time.Millisecond, 8)
	if p.singles() != 16 {
		t.Errorf("%d in flight after answers to eight at a time, want twice as many", p.singles())
	}
	p.answers(10_000, time.Millisecond, time.Millisecond, maxSingles)
	if p.singles() != maxSingles {
		t.Errorf("%d in flight, want %d", p.singles(), maxSingles)
	}
	p.mustGather(t, false)
}

func TestMessagesGatherWhenAnswersStaySlow(t *testing.T) {
	p := newPaced()
	p.answers(1, time.Millisecond, time.Second, minSingles)
	p.answers(1000, time.Millisecond, time.Second, minSingles-1)
	p.mustGather(t, false) // few are in flight: a batch would be no faster
	p.answers(1, time.Millisecond, firstPatience+1, minSingles)
	p.mustGather(t, false)
	p.answers(10, stall/10, firstPatience+1, minSingles)
	p.mustGather(t, false)
	p.answers(1, stall/10, firstPatience+1, minSingles)
	p.mustGather(t, true)
	if p.singles() != minSingles {
		t.Errorf("%d in flight by themselves beside batches, want %d", p.singles(), minSingles)
	}
}

func TestAnswersAfterAStallDoNotMakeMessagesGather(t *testing.T) {
	p := newPaced()
	for range 20 {
		p.answers(100, time.Millisecond, time.Millisecond, minSingles)
		p.answers(40, time.Millisecond, 50*time.Millisecond, 100)
	}
	p.mustGather(t, false)
}

func TestBatchesAreWhatAnswersAreHeldAgainst(t *testing.T) {
	p := newPaced()
	p.batched(40 * time.Millisecond)
	p.answers(1000, time.Millisecond, 39*time.Millisecond, minSingles)
	p.mustGather(t, false)
	p.answers(200, time.Millisecond, 41*time.Millisecond, minSingles)
	p.mustGather(t, true)
}

func TestOneSlowBatchChangesLittle(t *testing.T) {
	p := newPaced()
	p.batched(20 * time.Millisecond)
	p.batched(4 * time.Millisecond)
	if p.batch != 4*time.Millisecond {
		t.Errorf("a batch takes %v, want what the faster took", p.batch)
	}
	p.batched(84 * time.Millisecond)
	if p.batch != 14*time.Millisecond {
		t.Errorf("a batch takes %v, want 14 ms: an eighth of the way", p.batch)
	}
}

func TestItIsTriedAgainEverMoreRarely(t *testing.T) {
	p := newPaced()
	p.yield(p.now)
	for _, want := range []int{8, 16, 32, 64, 128, 256, 256} {
		p.fail(t)
		if p.tryAt != want {
			t.Fatalf("tried again after %d turns, want %d", p.tryAt, want)
		}
	}
	p.turns = p.tryAt
	p.turn(p.now, 30)
	p.answers(1100, time.Millisecond, time.Millisecond, minSingles) // it works, for longer than lasting
	p.turn(p.now, 10_000)
	p.mustGather(t, false)
	p.answers(1000, time.Millisecond, time.Second, minSingles)
	p.mustGather(t, true)
	if p.tryAt != minTurns {
		t.Errorf("tried again after %d turns, want %d", p.tryAt, minTurns)
	}
}

func TestABatchThatTookSecondsIsNoMeasure(t *testing.T) {
	p := newPaced()
	p.batched(3 * time.Second)
	p.answers(200, time.Millisecond, stall+1, minSingles)
	p.mustGather(t, true)
}

func TestATrialEndsWhenItsAnswersAreSlow(t *testing.T) {
	p := newPaced()
	p.batched(5 * time.Millisecond)
	p.yield(p.now)
	p.turns = p.tryAt
	p.turn(p.now, 30)
	p.answers(3, time.Millisecond, 6*time.Millisecond, minSingles)
	p.mustGather(t, false)
	p.answers(5, time.Millisecond, 6*time.Millisecond, minSingles)
	p.mustGather(t, true)
}
