package accesslog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// ErrNotConnected says that the bus is away. Nothing was sent.
var ErrNotConnected = errors.New("not connected to the bus")

type busPublisher struct{ c *bus.Conn }

// NewPublisher publishes to the resource's subject of an installation,
// [bus.AccessSubject]. The user of c must be permitted to, and to hear its inbox.
//
// Each message carries its writer and number, and both as Nats-Msg-Id: within
// the stream's duplicate window a message come again is not stored again.
func NewPublisher(c *bus.Conn) Publisher { return busPublisher{c} }

// Publish does what [Publisher] says.
func (p busPublisher) Publish(ctx context.Context, m Message) error {
	subject := bus.AccessSubject(strconv.FormatInt(m.Resource, 10))
	if !p.c.NATS().IsConnected() {
		return fmt.Errorf("publish to %s: %w", subject, ErrNotConnected)
	}
	number := strconv.FormatInt(m.Number, 10)
	msg := &nats.Msg{Subject: subject, Data: m.Body, Header: nats.Header{
		bus.HeaderVersion:              {strconv.Itoa(MessageVersion)},
		bus.HeaderWriter:               {m.Writer},
		HeaderMessage:                  {number},
		jetstream.MsgIDHeader:          {m.Writer + "-" + number},
		jetstream.ExpectedStreamHeader: {bus.StreamAccess},
	}}
	if m.Dropped != (Counts{}) {
		msg.Header[HeaderDropped] = []string{m.Dropped.String()}
	}
	_, err := p.c.JetStream().PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("publish %d bytes to %s: %w", len(m.Body), subject, err)
	}
	return nil
}
