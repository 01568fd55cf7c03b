package slicer

import (
	"sync"
	"time"
)

// crewSize is how many of a partition's sessions deal with the store at once. It is far
// above what has a slot, and far below the number of sessions: where 100,000 end in the
// same moment, a goroutine for each took a kilobyte of stack and twice as much of contexts.
const crewSize = 1024

// A crew are the goroutines that deal with the store. What they have not come to yet
// waits in the order in which it came.
type crew struct {
	size   int
	mu     sync.Mutex
	busy   int // without those that are lent
	queue  []func(*task)
	probed time.Time
}

// probeEvery is how often a place is given away though the store answers nobody: some
// 3,600 goroutines in an hour without it.
const probeEvery = time.Second

// probe says whether that is due.
func (c *crew) probe(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || now.Sub(c.probed) < probeEvery {
		return false
	}
	c.probed = now
	return true
}

// A task is one thing that a session has to do with the store.
type task struct {
	p     *partition
	began time.Time // or when it failed last
	lent  bool
}

// failed is called after each try that failed. A task that fails while others do not
// gives its place to another, once and for as long as it takes: those whose parts the
// store will not have must not be in the way of all others. Where the store has nothing
// for anybody the places stay taken, or there would be a goroutine for each session again;
// but now and then one is given away, to see whether that is still so.
func (t *task) failed() {
	if t.lent {
		return
	}
	now := time.Now()
	others := t.p.store3.answeredSince(t.began)
	if t.began = now; !others && !t.p.crew.probe(now) {
		return
	}
	t.lent = true
	t.p.crew.leave()
	t.p.storeDo(nil)
}

// join says whether the caller is to start a goroutine; else f waits. With f nil one is
// wanted only for what waits already.
func (c *crew) join(f func(*task)) (func(*task), bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f != nil {
		c.queue = append(c.queue, f)
	}
	if c.busy >= c.size || len(c.queue) == 0 {
		return nil, false
	}
	c.busy++
	return c.first(), true
}

func (c *crew) first() func(*task) {
	f := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return f
}

// next is what a goroutine does next; nil: it ends. With over nothing is begun any more.
func (c *crew) next(over bool) func(*task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if over {
		c.queue = nil
	}
	if len(c.queue) == 0 {
		c.busy--
		return nil
	}
	return c.first()
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
}

// storeDo runs f, which deals with the store, on a goroutine of the partition's: now, or
// when one is free. What waits is dropped when the partition is given up.
func (p *partition) storeDo(f func(*task)) {
	f, now := p.crew.join(f)
	if !now {
		return
	}
	p.goDo(func() {
		for f != nil {
			t := &task{p: p, began: time.Now()}
			f(t)
			if t.lent {
				return
			}
			f = p.crew.next(p.ctx.Err() != nil)
		}
	})
}
