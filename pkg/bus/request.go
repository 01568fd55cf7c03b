package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// requestTimeout is for one try of a request that only reads.
const requestTimeout = 5 * time.Second

// request is a NATS request that also ends when the server denies it, which it
// otherwise answers with silence.
func (c *Conn) request(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	if err := c.inboxDenied(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.listen(&listener{denied: func(d denial) {
		if d.subject == subject && !d.subscribe || c.inboxDenied() != nil {
			cancel(d.err())
		}
	}})()
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	msg, err := c.nc.RequestWithContext(ctx, subject, data)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return msg, err
}

// errNotFound is what last returns when the subject has no message.
var errNotFound = errors.New("no message on the subject")

// last reads the last message of a subject, which may have wildcards, with a
// direct get: the one request for it that can be permitted subject by subject.
// On a replicated stream any replica answers, so it may be behind.
func (c *Conn) last(ctx context.Context, stream, subject string) (*nats.Msg, uint64, time.Time, error) {
	msg, err := c.request(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if err != nil {
		return nil, 0, time.Time{}, fmt.Errorf("read the last message of %s: %w", subject, err)
	}
	if status := msg.Header.Get("Status"); status != "" {
		if status == "404" {
			return nil, 0, time.Time{}, errNotFound
		}
		return nil, 0, time.Time{}, fmt.Errorf("read the last message of %s: status %s %s", subject, status, msg.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return nil, 0, time.Time{}, fmt.Errorf("read the last message of %s: sequence: %w", subject, err)
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return nil, 0, time.Time{}, fmt.Errorf("read the last message of %s: time: %w", subject, err)
	}
	msg.Subject = msg.Header.Get("Nats-Subject")
	return msg, seq, at, nil
}

// newest is the sequence of a subject's last message as the stream's leader has it:
// a replica that lags would have a reader take what is missing for the end. A user
// who may not ask the leader, who can be asked for all subjects only, is told what
// a replica knows.
func (c *Conn) newest(ctx context.Context, stream, subject string, replicas int) (uint64, error) {
	if replicas > 1 && !c.leaderDenied.Load() {
		seq, err := c.leaderLast(ctx, stream, subject)
		if !errors.Is(err, ErrPermission) {
			return seq, err
		}
		c.leaderDenied.Store(true)
		c.log.Warn("the leader of a stream may not be asked for its last message; a replica that lags can hide the newest",
			"stream", stream, "err", err)
	}
	_, seq, _, err := c.last(ctx, stream, subject)
	return seq, err
}

func (c *Conn) leaderLast(ctx context.Context, stream, subject string) (uint64, error) {
	query, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return 0, fmt.Errorf("encode query: %w", err)
	}
	reply, err := c.request(ctx, "$JS.API.STREAM.MSG.GET."+stream, query)
	if err != nil {
		return 0, fmt.Errorf("ask the leader for the last message of %s: %w", subject, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return 0, fmt.Errorf("ask the leader for the last message of %s: read its answer: %w", subject, err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return 0, errNotFound
	case answer.Error != nil:
		return 0, fmt.Errorf("ask the leader for the last message of %s: %w", subject, answer.Error)
	}
	if answer.Message.Seq == 0 {
		return 0, fmt.Errorf("ask the leader for the last message of %s: it answers without a sequence", subject)
	}
	return answer.Message.Seq, nil
}
