package slicer

import (
	"sync/atomic"
	"time"
)

// A budget counts bytes over all partitions against a limit.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) add(n int64) {
	if n != 0 {
		b.used.Add(n)
	}
}

func (b *budget) over() bool { return b.used.Load() > b.limit }

// near says whether more than four fifths would be used once soon is freed.
func (b *budget) near(soon int64) bool { return b.used.Load()-soon > b.limit/5*4 }

// storeHealth is whether the store answers.
type storeHealth struct {
	good, bad atomic.Int64 // Unix nanoseconds of the newest answer and the newest failure
}

func (h *storeHealth) saw(ok bool, now time.Time) {
	if ok {
		h.good.Store(now.UnixNano())
	} else {
		h.bad.Store(now.UnixNano())
	}
}

// answeredSince says whether the store has taken something since then, whatever it has
// refused meanwhile.
func (h *storeHealth) answeredSince(at time.Time) bool { return h.good.Load() > at.UnixNano() }

// down says whether the store has failed lately and not answered since.
func (h *storeHealth) down(now time.Time) bool {
	good, bad := h.good.Load(), h.bad.Load()
	return bad > good && now.UnixNano()-bad < int64(time.Minute)
}
