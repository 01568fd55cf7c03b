package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// ReadOptions say which part of a session [Read] yields.
type ReadOptions struct {
	Node      string // only what this node published; empty for any
	FromSeq   uint64 // first stream sequence; 0 for the first there is
	Follow    bool   // go on with what comes until ctx is done; else stop at what was the last when Read began
	StopAtEnd bool   // stop after the end message
	Certain   bool   // unless following: fail with ErrPermission if the stream's leader cannot be asked for the last message
}

// Read yields the messages of session sid in the order of the stream, each once,
// control messages included. What was trimmed from the stream is not there; the
// indexes of the events show it.
//
// A message that [DecodeMessage] cannot read is yielded with its error, and
// reading goes on. An error that ends the reading comes with the zero Message.
// One of them is ctx being done. Lost connections and servers that restart are
// waited for, for a while if not following.
//
// What is the last of a replicated stream its leader says ($JS.API.STREAM.MSG.GET).
// A user who may not ask it can miss the newest where a replica lags, and is refused
// if Certain is asked for.
//
// Reading makes the server look at each block of the partition that holds a
// message of the session: take what is archived from S3, and the rest from here.
func Read(ctx context.Context, c *Conn, l Layout, sid string, o ReadOptions) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if err := read(ctx, c, l, sid, o, yield); err != nil {
			yield(Message{}, fmt.Errorf("read session %s: %w", sid, err))
		}
	}
}

var errStopped = errors.New("stopped")

func read(ctx context.Context, c *Conn, l Layout, sid string, o ReadOptions, yield func(Message, error) bool) error {
	filter, err := filterOf(l, o.Node, sid)
	if err != nil {
		return err
	}
	stream := EventStream(Partition(sid, l.Partitions))
	f := &feed{c: c, stream: stream, filter: filter, replicas: l.Replicas, certain: o.Certain, from: max(o.FromSeq, 1), patient: o.Follow}
	defer f.close()
	end := uint64(math.MaxUint64)
	if !o.Follow {
		if end, err = f.openAndLast(ctx); errors.Is(err, errNotFound) || err == nil && end < o.FromSeq {
			return nil
		}
		if err != nil {
			return err
		}
	}
	for {
		msg, at, err := f.nextBefore(ctx, end)
		if errors.Is(err, errStopped) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := decode(msg.Subject, msg.Header, msg.Data, at.seq, at.time)
		if !yield(m, err) || m.Seq >= end || o.StopAtEnd && err == nil && m.Control == ControlEnd {
			return nil
		}
	}
}

func filterOf(l Layout, node, sid string) (string, error) {
	if l.Partitions < 1 {
		return "", errors.New("the layout has no partitions; it must come from Ensure or Inspect")
	}
	if err := ValidName(sid); err != nil {
		return "", err
	}
	if node == "" {
		node = "*"
	} else if err := ValidName(node); err != nil {
		return "", err
	}
	return EventSubject(Partition(sid, l.Partitions), node, sid), nil
}

// lookAgain is how long a reader that knows there is more waits for it before it
// looks whether that is still so: it may have been trimmed.
const lookAgain = 3 * time.Second
