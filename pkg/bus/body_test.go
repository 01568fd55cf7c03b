package bus

import "testing"

// A body that fills up is copied little on the way, and one that gathers a few
// events holds little more than they are.
func TestBodyGrowsWithLittleCopying(t *testing.T) {
	const limit, event = 64 << 10, 300
	m, made := &message{}, 0
	for len(m.body)+event <= limit {
		before := cap(m.body)
		m.grow(event, limit)
		if cap(m.body) != before {
			made += cap(m.body)
		}
		m.body = m.body[:len(m.body)+event]
		if n := len(m.body); n <= 4<<10 && cap(m.body) > 2*n {
			t.Errorf("room for %d bytes, %d used", cap(m.body), n)
		}
	}
	if cap(m.body) > limit {
		t.Errorf("room for %d bytes, over %d", cap(m.body), limit)
	}
	if made > 2*limit {
		t.Errorf("%d bytes made for a body of %d", made, limit)
	}
	m.grow(2*limit, limit)
	if got := cap(m.body) - len(m.body); got < 2*limit {
		t.Errorf("room for %d bytes, want %d", got, 2*limit)
	}
}
