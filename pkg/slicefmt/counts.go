package slicefmt

import "github.com/tapedeck-io/tapedeck/pkg/events"

// Counts is what was met on the way through a recording's events. It begins as
// [NewCounts], since without events the last index is -1.
type Counts struct {
	Records    int64 // returned
	Duplicates int64 // skipped: the index was not above all before it
	Gaps       int64 // runs of indexes that no event had, one before the first event included
	Missing    int64 // indexes in them
	Unknown    int64 // returned events of a type that is not known here
	Parts      int   // read to their end
	LastIndex  int64 // highest index; -1 before the first event
}

// NewCounts is the counts before the first event.
func NewCounts() Counts { return Counts{LastIndex: -1} }

// Take counts one event and says whether it is new: false for a duplicate.
func (c *Counts) Take(h events.Header) bool {
	if h.Index <= c.LastIndex {
		c.Duplicates++
		return false
	}
	if missing := h.Index - c.LastIndex - 1; missing > 0 {
		c.Gaps++
		c.Missing += missing
	}
	if !events.Known(h.Case) {
		c.Unknown++
	}
	c.LastIndex = h.Index
	c.Records++
	return true
}
