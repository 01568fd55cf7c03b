package seekindex

import "container/heap"

// idle lists a stretch. When there are too many, the shorter ones go, and of equally
// long ones the later. The list is a heap from then on until finish.
func (s *survey) idle(i Idle) {
	switch h := (*idleHeap)(&s.Idle); {
	case len(s.Idle) < maxListed:
		if s.Idle = append(s.Idle, i); len(s.Idle) == maxListed {
			heap.Init(h)
		}
	case i.ToMS-i.FromMS > s.Idle[0].ToMS-s.Idle[0].FromMS:
		s.Idle[0] = i
		heap.Fix(h, 0)
	}
}

// An idleHeap has the stretch in front that is to go first.
type idleHeap []Idle

func (h idleHeap) Len() int { return len(h) }
func (h idleHeap) Less(i, j int) bool {
	a, b := h[i].ToMS-h[i].FromMS, h[j].ToMS-h[j].FromMS
	return a < b || a == b && h[i].FromMS > h[j].FromMS
}
func (h idleHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push and Pop are not called: the list has the same length all along.
func (h *idleHeap) Push(any) {}
func (h *idleHeap) Pop() any { return nil }
