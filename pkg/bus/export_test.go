package bus

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
