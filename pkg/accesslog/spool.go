package accesslog

import (
	"container/list"
	"time"
)

// A spool keeps the records that the bus does not have yet, within bounds. It
// is used under the tracker's lock.
//
// A record waits until it is taken into a message, and from then on belongs to
// the message, which is sent until the bus has it: what may be stored already
// cannot be called dropped.
type spool struct {
	maxRecords int
	maxBytes   int64

	n       int   // records, waiting or taken
	bytes   int64 // of their JSON
	waiting list.List
	stale   list.List // those waiting of which a newer one of the session waits too
	queues  map[int64]*queue
	ready   list.List // queues that a message can be taken from
	taken   map[*message]struct{}
	dropped Counts
}

// An entry is one record in the spool.
type entry struct {
	json   []byte
	kind   Kind
	id     string
	q      *queue
	inAll  *list.Element // nil: not waiting
	inOwn  *list.Element
	stales *list.Element // nil: not stale
}

// A queue is what waits for one resource, in order.
type queue struct {
	resource int64
	waiting  list.List
	inReady  *list.Element
	message  *message // on its way
}

func newSpool(maxRecords int, maxBytes int64) *spool {
	return &spool{maxRecords: maxRecords, maxBytes: maxBytes, queues: map[int64]*queue{}, taken: map[*message]struct{}{}}
}

// add puts a record behind all others. earlier is the session's record before
// it, nil if unknown. It returns those that had to go to make room.
func (s *spool) add(resource int64, e, earlier *entry) (gone []*entry) {
	q := s.queues[resource]
	if q == nil {
		q = &queue{resource: resource}
		s.queues[resource] = q
	}
	e.q = q
	e.inAll, e.inOwn = s.waiting.PushBack(e), q.waiting.PushBack(e)
	s.n++
	s.bytes += int64(len(e.json))
	if earlier != nil && earlier.inAll != nil && earlier.stales == nil {
		earlier.stales = s.stale.PushBack(earlier)
	}
	s.makeReady(q)
	for (s.n > s.maxRecords || s.bytes > s.maxBytes) && s.waiting.Len() > 0 {
		gone = append(gone, s.drop())
	}
	return gone
}

// drop lets one record go: the oldest of which a newer one waits, or the oldest.
func (s *spool) drop() *entry {
	first := s.stale.Front()
	if first == nil {
		first = s.waiting.Front()
	}
	e := first.Value.(*entry)
	s.unwait(e)
	s.forget(e)
	s.dropped.add(e.kind)
	s.makeReady(e.q)
	return e
}

// unwait takes a record out of the lists.
func (s *spool) unwait(e *entry) {
	s.waiting.Remove(e.inAll)
	e.q.waiting.Remove(e.inOwn)
	if e.stales != nil {
		s.stale.Remove(e.stales)
	}
	e.inAll, e.inOwn, e.stales = nil, nil, nil
}

func (s *spool) forget(e *entry) {
	s.n--
	s.bytes -= int64(len(e.json))
	e.json = nil // its session may still point here
}

// makeReady puts the queue among the ready ones if a message can be taken from
// it, and takes it out, or away, if not.
func (s *spool) makeReady(q *queue) {
	can := q.message == nil && q.waiting.Len() > 0
	switch {
	case can && q.inReady == nil:
		q.inReady = s.ready.PushBack(q)
	case !can && q.inReady != nil:
		s.ready.Remove(q.inReady)
		q.inReady = nil
	}
	if q.message == nil && q.waiting.Len() == 0 {
		delete(s.queues, q.resource)
	}
}

// A message is records on their way to the bus.
type message struct {
	Message
	q       *queue
	entries []*entry
	tries   int
	at      time.Time // of the next try
}

// take makes a message of what waits longest of a resource that has none on its
// way; nil if there is none.
func (s *spool) take() *message {
	first := s.ready.Front()
	if first == nil {
		return nil
	}
	q := first.Value.(*queue)
	m := &message{q: q}
	m.Resource = q.resource
	size := 2
	for e := q.waiting.Front(); e != nil; e = q.waiting.Front() {
		e := e.Value.(*entry)
		if size += len(e.json) + 1; size > MaxMessage && len(m.entries) > 0 {
			break
		}
		s.unwait(e)
		m.entries = append(m.entries, e)
	}
	m.Body = joinJSON(m.entries)
	q.message = m
	s.taken[m] = struct{}{}
	s.makeReady(q)
	return m
}

func joinJSON(entries []*entry) []byte {
	n := 2
	for _, e := range entries {
		n += len(e.json) + 1
	}
	b := append(make([]byte, 0, n), '[')
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.json...)
	}
	return append(b, ']')
}

// stored forgets a message that the bus has.
func (s *spool) stored(m *message) {
	for _, e := range m.entries {
		s.forget(e)
	}
	delete(s.taken, m)
	m.q.message = nil
	s.makeReady(m.q)
}

// left counts what is in the spool, by kind.
func (s *spool) left() (c Counts) {
	s.each(func(e *entry) { c.add(e.kind) })
	return c
}

func (s *spool) each(f func(*entry)) {
	for m := range s.taken {
		for _, e := range m.entries {
			f(e)
		}
	}
	for e := s.waiting.Front(); e != nil; e = e.Next() {
		f(e.Value.(*entry))
	}
}
