package accesslog

import (
	"container/heap"
	"math"
)

// never is a moment that does not come.
const never = math.MaxInt64

// A timer is a moment at which the tracker does something about its owner. All
// of them share one heap and the tracker's one goroutine, so that a session
// costs no runtime timer.
type timer struct {
	at    int64 // by the tracker's clock
	index int   // in the heap; -1: not in it
	owner interface {
		fire(t *Tracker, now int64) []func()
	}
}

type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}

func (h *timers) remove(t *timer) {
	if t.index >= 0 {
		heap.Remove(h, t.index)
	}
}

// next is when the first is due.
func (h timers) next() int64 {
	if len(h) == 0 {
		return never
	}
	return h[0].at
}

// schedule sets a timer, and wakes the tracker if it must wake earlier for it.
func (t *Tracker) schedule(m *timer, at int64) {
	m.at = at
	if m.index >= 0 {
		heap.Fix(&t.due, m.index)
	} else {
		heap.Push(&t.due, m)
	}
	if m.index == 0 && at < t.wakes {
		wake(t.work)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
