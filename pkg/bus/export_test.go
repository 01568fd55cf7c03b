package bus

import "math"

// InFlight is what counts as in flight, for tests: bytes, and in a partition the messages
// by themselves and those that wait in its lane.
func (p *Publisher) InFlight(partition int) (bytes, singles, ready int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lanes[partition]; l != nil {
		singles, ready = l.singles, len(l.ready)
	}
	return p.inFlight, singles, ready
}

// Gather has the small messages of a partition travel in batches whatever that takes.
func (p *Publisher) Gather(partition int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &lane{max: p.o.MaxBatch, pace: newPace()}
	l.pace.gather, l.pace.tryAt = true, math.MaxInt
	p.lanes[partition] = l
}
