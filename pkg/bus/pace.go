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
	wait   int           // messages that may wait while it is tried whether they can go so
	slow   time.Time     // since then every answer took too long; zero: the last did not
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

// answered takes the answer to one of the messages in flight by themselves.
func (p *pace) answered(now, sent time.Time, inFlight int) {
	patience := firstPatience
	if p.batch > 0 {
		patience = p.batch
	}
	switch {
	case p.gather:
	case now.Sub(sent) <= patience:
		p.slow = time.Time{}
		if inFlight > p.window/2 { // else it has not been tried out
			p.window = min(p.window+1, maxSingles)
		}
	case inFlight < minSingles:
	case p.slow.IsZero():
		p.slow = now // a server that stood still answers all at once when it goes on
	case now.Sub(p.slow) > patience && p.slow.Sub(p.since) < lasting, now.Sub(p.slow) > max(stall, patience):
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

// turn is asked for when messages wait that cannot go at once, and no batch is in
// flight: it lets them go by themselves if it is time to try, and has them gather if
// there are ever more while that is tried.
func (p *pace) turn(now time.Time, waiting int) {
	switch {
	case p.gather && p.turns >= p.tryAt:
		p.gather, p.window, p.since, p.slow, p.wait = false, minSingles, now, time.Time{}, waiting+minBatch
	case !p.gather && waiting > p.wait && now.Sub(p.since) < lasting:
		p.yield(now)
	}
}
