package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
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
