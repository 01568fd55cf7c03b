package bus

import (
	"context"
	"iter"
)

// ReadOptions say which part of a session [Read] yields.
type ReadOptions struct {
	Node      string // only what this node published; empty for any
	FromSeq   uint64 // first stream sequence; 0 for the first there is
	Follow    bool   // go on with what comes, until ctx is done; else stop at what was the last
	StopAtEnd bool   // with Follow: stop after the end message
}

// Read yields the messages of session sid in order, control messages included.
// The last pair has an error if it did not come to its end; a ctx that is done
// while following is one.
func Read(ctx context.Context, c *Conn, l Layout, sid string, o ReadOptions) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {}
}
