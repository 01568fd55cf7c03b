package slicer

// A session is in several orders at once: by its last activity, by when it became
// dirty, by when the bus last saw it. Each is an intrusive list, so that a tick
// looks at what is due and at nothing else, and a session costs three pairs of
// pointers and no timer.

// The orders.
const (
	byActivity = iota // hot: dirty, or cold: clean but with bytes in memory
	byDirty           // when its oldest undurable message was applied
	bySeen            // bus time of its newest message
	orders
)

type link struct {
	prev, next *session
	in         *list
}

// A list is one order of sessions. Its zero value, with order set, is empty.
type list struct {
	order       int
	front, back *session
	n           int
}

// toBack moves s to the end of l, out of whichever list of the same order it was in.
func (l *list) toBack(s *session) {
	k := &s.links[l.order]
	if k.in == l && l.back == s {
		return
	}
	l.out(s)
	k.in, k.prev = l, l.back
	if l.back != nil {
		l.back.links[l.order].next = s
	} else {
		l.front = s
	}
	l.back = s
	l.n++
}

// out takes s out of whichever list of l's order it is in.
func (l *list) out(s *session) {
	k := &s.links[l.order]
	in := k.in
	if in == nil {
		return
	}
	if k.prev != nil {
		k.prev.links[l.order].next = k.next
	} else {
		in.front = k.next
	}
	if k.next != nil {
		k.next.links[l.order].prev = k.prev
	} else {
		in.back = k.prev
	}
	in.n--
	*k = link{}
}

// holds is a heap of sessions by the oldest message that is not durable of each,
// for container/heap. Its first element says how far the cursor may go.
type holds []*session

func (h holds) Len() int           { return len(h) }
func (h holds) Less(i, j int) bool { return h[i].holdAt < h[j].holdAt }
func (h holds) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].holdIdx, h[j].holdIdx = i+1, j+1
}

// Push is for container/heap.
func (h *holds) Push(x any) {
	s := x.(*session)
	s.holdIdx = len(*h) + 1
	*h = append(*h, s)
}

// Pop is for container/heap.
func (h *holds) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.holdIdx = 0
	return s
}
