package completer

import (
	"context"
	"sync"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// maxCommits is how many records travel in one batch.
const maxCommits = 64

// commits gathers the records of sessions that are completed at the same time: while
// one batch is under way the next gathers. When every message is synced to disk, that
// is what completing a session takes longest for, and a batch is synced once. A record
// that is alone waits for nobody.
//
// A batch that fails says nothing of its records, so each is then appended by itself.
type commits struct {
	conn *bus.Conn

	mu      sync.Mutex
	waiting []*pendingCommit
	running bool
}

type pendingCommit struct {
	ctx  context.Context
	rec  uploadlog.Successor
	done chan struct{}
	seq  uint64
	err  error
}

// append stores one record as uploadlog.CompareAndAppend does.
func (c *commits) append(ctx context.Context, rec uploadlog.Successor) (uint64, error) {
	p := &pendingCommit{ctx: ctx, rec: rec, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, p)
	first := !c.running
	c.running = true
	c.mu.Unlock()
	if first {
		go c.run()
	}
	<-p.done // soon after ctx is done, too: what sends it has the same ctx or a time limit
	return p.seq, p.err
}

// run sends what waits until nothing does.
func (c *commits) run() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), maxCommits)
		if n == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		batch := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		c.mu.Unlock()
		c.send(batch)
	}
}

func (c *commits) send(batch []*pendingCommit) {
	if len(batch) > 1 {
		recs := make([]uploadlog.Successor, len(batch))
		for i, p := range batch {
			recs[i] = p.rec
		}
		if seqs, err := uploadlog.AppendAll(batch[0].ctx, c.conn, recs); err == nil {
			for i, p := range batch {
				p.seq = seqs[i]
				close(p.done)
			}
			return
		}
	}
	var wg sync.WaitGroup
	for _, p := range batch {
		wg.Go(func() {
			defer close(p.done)
			p.seq, p.err = uploadlog.CompareAndAppend(p.ctx, c.conn, p.rec.Partition, p.rec.SID, p.rec.Prev, p.rec.Record)
		})
	}
	wg.Wait()
}
