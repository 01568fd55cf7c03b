package slicer

import "sync"

// crewSize is how many of a partition's sessions deal with the store at once, pauses
// between tries included. It is far above what has a slot, so that those who pause hold
// up nobody, and far below the number of sessions: where 100,000 end in the same moment,
// a goroutine for each took a kilobyte of stack and twice as much of contexts.
const crewSize = 1024

// A crew are the goroutines that deal with the store. What they have not come to yet
// waits in the order in which it came.
type crew struct {
	size  int
	mu    sync.Mutex
	busy  int
	queue []func()
}

// join says whether the caller is to start a goroutine for f; else f waits.
func (c *crew) join(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy < c.size {
		c.busy++
		return true
	}
	c.queue = append(c.queue, f)
	return false
}

// next is what a goroutine does next; nil: it ends. With over nothing is begun any more.
func (c *crew) next(over bool) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if over {
		c.queue = nil
	}
	if len(c.queue) == 0 {
		c.busy--
		return nil
	}
	f := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return f
}

// storeDo runs f, which deals with the store, on a goroutine of the partition's: now, or
// when one is free. f is not run once the partition is given up.
func (p *partition) storeDo(f func()) {
	if !p.crew.join(f) {
		return
	}
	p.goDo(func() {
		for f := f; f != nil; f = p.crew.next(p.ctx.Err() != nil) {
			f()
		}
	})
}
