package bus

import "time"

// Whether small messages of a partition go by themselves or gather for batches
// depends on the server's disk, on whether it syncs each write, and on how many
// publishers there are. With 2 CPUs and a disk that syncs in 0.2 ms:
//
//	the server's default      8 us a message, 6 ms a batch (what it stages it syncs)
//	a sync for each message   270 us a message, 4 ms a batch
//
// So messages go by themselves as long as their answers take no longer than a
// batch's. How many may be in flight grows while that holds. When it does not, they
// gather, and after some batches it is tried again.
const (
	minSingles = 8   // that may always be in flight
	maxSingles = 512 // a server takes 10,000 that it has not stored, of all publishers together
	// firstPatience is how long an answer may take while no batch has been seen.
	firstPatience = 10 * time.Millisecond
	// After minTurns batches messages go by themselves again, and if they do not for
	// lasting, after twice as many, up to maxTurns.
	minTurns, maxTurns = 4, 256
	lasting            = time.Second
	// stall is how long a server may be slow that has not been so for lasting.
	stall = 100 * time.Millisecond
)

// A pace is how the small messages of one partition travel. It is used under the
// publisher's lock.
type pace struct {
	gather bool
	window int           // messages by themselves that may be in flight while they do not gather
	since  time.Time     // they go by themselves; zero: from the beginning
	wait   int           // how many waited when they had gone so for a while
	waitAt time.Time     // when that was; zero: not yet
	slow   time.Time     // since then every answer with many in flight took too long; zero: the last did not
	turns  int           // batches since they gather
	tryAt  int           // as many turns
	batch  time.Duration // what a batch takes; 0: not known
}

func newPace() pace { return pace{window: minSingles, tryAt: minTurns} }

// singles is how many messages may be in flight by themselves.
func (p *pace) singles() int {
	if p.gather {
		return minSingles
	}
	return p.window
}

// patience is how long answers may take. A batch that took longer than a stall is no
// measure.
func (p *pace) patience() time.Duration {
	if p.batch == 0 {
		return firstPatience
	}
	return min(p.batch, stall)
}

// answered takes the answer to one of the messages in flight by themselves.
func (p *pace) answered(now, sent time.Time, inFlight int) {
	patience := p.patience()
	switch {
	case p.gather:
	case now.Sub(sent) <= patience:
		p.slow = time.Time{}
		if inFlight > p.window/2 { // else it has not been tried out
			p.window = min(p.window+1, maxSingles)
		}
	case inFlight < minSingles:
		p.slow = time.Time{}
	case p.slow.IsZero():
		p.slow = now // a server that stood still answers all at once when it goes on
	case now.Sub(p.slow) > patience && p.slow.Sub(p.since) < lasting, now.Sub(p.slow) > stall:
		p.yield(now)
	}
}

// yield lets messages gather.
func (p *pace) yield(now time.Time) {
	p.gather, p.turns = true, 0
	if p.tryAt = min(2*p.tryAt, maxTurns); now.Sub(p.since) >= lasting {
		p.tryAt = minTurns
	}
}

// batched takes what a batch has taken that had no other before it. One that was
// slow may have met with a hiccup; one that was fast cannot have.
func (p *pace) batched(took time.Duration) {
	if p.batch == 0 || took < p.batch {
		p.batch = took
		return
	}
	p.batch += (took - p.batch) / 8
}

// due says whether it is time to let messages go by themselves again, once no batch
// is in flight.
func (p *pace) due() bool { return p.gather && p.turns >= p.tryAt }

// turn is asked whenever something has been answered and no batch is in flight. It
// lets messages go by themselves if that is due, and while it is tried has them
// gather if ever more of them wait.
func (p *pace) turn(now time.Time, waiting int) {
	switch {
	case p.due():
		p.gather, p.window, p.since, p.slow, p.waitAt = false, minSingles, now, time.Time{}, time.Time{}
	case p.gather || now.Sub(p.since) >= lasting:
	case p.waitAt.IsZero() && now.Sub(p.since) > p.patience(): // the window has grown
		p.wait, p.waitAt = waiting, now
	case !p.waitAt.IsZero() && now.Sub(p.waitAt) > p.patience() && waiting > p.wait+minBatch:
		p.yield(now)
	}
}
