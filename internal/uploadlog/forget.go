package uploadlog

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// maxDoomed bounds the sequences that wait for deletion. What is over it stays in
// the stream until the session's log shrinks at its end.
const maxDoomed = 1 << 16

// Forget deletes superseded records by sequence, in the background and as well as
// it can: it does not wait, and what it cannot delete stays until the completer
// shrinks the session's log. It stops when ctx is done. Wait waits for it.
func (o *Owner) Forget(ctx context.Context, seqs ...uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	room := maxDoomed - len(o.doomed)
	o.doomed = append(o.doomed, seqs[:min(room, len(seqs))]...)
	if len(o.doomed) > 0 && !o.deleting {
		o.deleting = true
		go o.delete(ctx)
	}
}

// Wait returns when nothing that was to be forgotten is left to try.
func (o *Owner) Wait() { o.wait(context.Background()) }

// wait is Wait until ctx is done.
func (o *Owner) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.idle.Broadcast()
	})()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.deleting && ctx.Err() == nil {
		o.idle.Wait()
	}
}

// delete works through doomed and ends when it is empty.
func (o *Owner) delete(ctx context.Context) {
	for {
		o.mu.Lock()
		if len(o.doomed) == 0 || ctx.Err() != nil {
			o.doomed, o.deleting = nil, false
			o.idle.Broadcast()
			o.mu.Unlock()
			return
		}
		seqs := o.doomed
		o.doomed = nil
		o.mu.Unlock()
		for _, seq := range seqs {
			if ctx.Err() != nil {
				break
			}
			// Best effort: a record too many is harmless.
			_ = deleteMsg(ctx, o.conn, seq)
		}
	}
}

// deleteMsg deletes one message without overwriting its bytes. That it is gone
// already is no error.
func deleteMsg(ctx context.Context, conn *bus.Conn, seq uint64) error {
	body, err := json.Marshal(map[string]any{"seq": seq, "no_erase": true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	js := conn.JetStream()
	var reply *nats.Msg
	err = failpoint.Around(func() error {
		reply, err = js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.MSG.DELETE."+bus.StreamUploads, body)
		return err
	}, "log/delete")
	if err != nil {
		return err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return err
	}
	if resp.Error == nil {
		return nil
	}
	// Servers say in several ways that there is no such message.
	if _, err := get(ctx, conn, map[string]any{"seq": seq}); errors.Is(err, ErrNotFound) {
		return nil
	}
	return resp.Error
}
