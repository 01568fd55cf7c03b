package health

import (
	"fmt"
	"sync"
	"time"
)

// A Pulse is how the tries of one kind of work went lately. The zero value is ready
// to use, and its methods may be called from several goroutines.
type Pulse struct {
	mu    sync.Mutex
	since time.Time // of the first failure after the last success
	tries int       // failed since then
	err   error     // of the last
}

// Saw takes note of a try.
func (p *Pulse) Saw(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.since, p.tries, p.err = time.Time{}, 0, nil
		return
	}
	if p.tries == 0 {
		p.since = time.Now()
	}
	p.tries, p.err = p.tries+1, err
}

// Problem says that nothing has worked for longer than after, and why the last try
// did not; nil otherwise. After success, or where nothing was tried, nothing is wrong.
func (p *Pulse) Problem(after time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := time.Since(p.since); p.tries > 0 && d > after {
		return fmt.Errorf("none of %d tries in %s succeeded: %w", p.tries, d.Round(time.Second), p.err)
	}
	return nil
}
