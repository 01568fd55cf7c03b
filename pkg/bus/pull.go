package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A pull gets what one consumer delivers. Two requests are with the server at all
// times. It serves them by turns and says when one is used up, which is when the
// next is sent; the first is half as large as the others, so that they do not end
// together and the server has always one to go on with.
//
// It is not safe for concurrent use.
type pull struct {
	c              *Conn
	stream, name   string
	subject, inbox string
	sub            *nats.Subscription
	msgs           chan *nats.Msg
	again          chan struct{} // the connection was lost, and the requests with it
	unlisten       func()
	bytes          int // asked for at a time
	timer          *time.Timer
}

const (
	pullMessages  = 1024     // asked for at a time,
	pullBytes     = 2 << 20  // of so many bytes together at most, or of the largest that the server takes
	pullRoom      = 64 << 10 // what a message has beside its payload, at most
	pullExpires   = 30 * time.Second
	pullHeartbeat = time.Second
	pullSilence   = 2 * pullHeartbeat // after which a consumer is taken for lost
)

func newPull(c *Conn, stream, name string) (*pull, error) {
	p := &pull{
		c: c, stream: stream, name: name, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name, inbox: c.nc.NewInbox(),
		// Beside what is asked for there may be as many heartbeats as come before
		// the requests end.
		msgs: make(chan *nats.Msg, 2*pullMessages+128), again: make(chan struct{}, 1),
		bytes: max(pullBytes, int(c.nc.MaxPayload())+pullRoom),
	}
	var err error
	if p.sub, err = c.nc.ChanSubscribe(p.inbox, p.msgs); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", p.inbox, err)
	}
	p.unlisten = c.listen(&listener{connected: func() {
		select {
		case p.again <- struct{}{}:
		default:
		}
	}})
	if err = p.ask(2); err == nil {
		err = p.ask(1)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ask sends a request for one part of what is asked for at a time.
func (p *pull) ask(part int) error {
	req, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{pullMessages / part, p.bytes / part, pullExpires, pullHeartbeat})
	if err == nil {
		err = p.c.nc.PublishRequest(p.subject, p.inbox, req)
	}
	if err != nil {
		return fmt.Errorf("ask consumer %s for messages: %w", p.name, err)
	}
	return nil
}

// next returns the next message. It waits no longer than look, unless that is 0, and
// then returns errNotYet. Any other error means that the consumer is lost, or that
// ctx is done.
func (p *pull) next(ctx context.Context, look time.Duration) (*nats.Msg, error) {
	for {
		var msg *nats.Msg
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		default:
		}
		select {
		case msg = <-p.msgs: // most of the time there is one, and no need for a timer
		default:
			var err error
			if msg, err = p.wait(ctx, &look); err != nil {
				return nil, err
			}
		}
		if len(msg.Data) > 0 || msg.Header == nil {
			return msg, nil
		}
		if user, err := p.status(msg); user || err != nil {
			return msg, err
		}
	}
}

// wait waits for what comes next, and takes from look the time that it took.
func (p *pull) wait(ctx context.Context, look *time.Duration) (*nats.Msg, error) {
	atMost := pullSilence
	if *look > 0 {
		atMost = min(atMost, *look)
	}
	if p.timer == nil {
		p.timer = time.NewTimer(atMost)
	} else {
		p.timer.Reset(atMost)
	}
	defer p.timer.Stop()
	began := time.Now()
	select {
	case msg := <-p.msgs:
		if *look > 0 {
			*look = max(1, *look-time.Since(began))
		}
		return msg, nil
	case <-p.timer.C:
		if atMost < pullSilence {
			return nil, errNotYet
		}
		return nil, fmt.Errorf("consumer %s has been silent for %s", p.name, pullSilence)
	case <-p.again:
		return nil, errors.New("the connection was lost")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// status looks at a message without a payload: one of the stream's own, or what the
// server says of a request.
func (p *pull) status(msg *nats.Msg) (user bool, err error) {
	switch code, what := msg.Header.Get("Status"), msg.Header.Get("Description"); {
	case code == "" || msg.Subject != p.inbox:
		return true, nil
	case code == "100": // a heartbeat
		return false, nil
	case code == "408", code == "409" && (what == "Message Size Exceeds MaxBytes" || what == "Batch Completed"):
		return false, p.ask(1)
	default:
		return false, fmt.Errorf("consumer %s: status %s %s", p.name, code, what)
	}
}

// close lets go of the consumer.
func (p *pull) close() {
	if p.unlisten != nil {
		p.unlisten()
	}
	_ = p.sub.Unsubscribe() // fails with a connection that is closed, and the subscription is gone with it
	if !p.c.nc.IsConnected() {
		return // the server forgets it
	}
	// Nobody waits for the answer; if it does not get there the server forgets
	// the consumer by itself.
	_ = p.c.nc.Publish("$JS.API.CONSUMER.DELETE."+p.stream+"."+p.name, nil)
}

// A place is where in the stream a message is.
type place struct {
	seq      uint64 // in the stream
	delivery uint64 // of the consumer, from 1
	time     time.Time
}

// placeOf reads the subject that a message would be acknowledged on:
//
//	$JS.ACK.<stream>.<consumer>.<tries>.<stream sequence>.<consumer sequence>.<time>.<pending>
//
// A server may put a domain and an account before the stream and something behind.
func placeOf(reply string) (place, error) {
	n := strings.Count(reply, ".") + 1
	skip := 5
	if n != 9 {
		skip = 7
	}
	rest, ours := strings.CutPrefix(reply, "$JS.ACK.")
	if !ours || n < 9 || n == 10 {
		return place{}, fmt.Errorf("reply subject %q does not say where in the stream the message is", reply)
	}
	for range skip - 2 {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var v [3]uint64
	for i := range v {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		ok := len(token) > 0 && len(token) < 20
		for _, c := range []byte(token) {
			ok = ok && c >= '0' && c <= '9'
			v[i] = v[i]*10 + uint64(c-'0')
		}
		if !ok || v[i] > math.MaxInt64 {
			return place{}, fmt.Errorf("reply subject %q does not say where in the stream the message is", reply)
		}
	}
	return place{seq: v[0], delivery: v[1], time: time.Unix(0, int64(v[2])).UTC()}, nil
}
