package accesslog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Where what cannot be delivered is kept aside.
const (
	StreamPoison  = "ACCESSPOISON"
	poisonPrefix  = "tapedeck.poison."
	PoisonFilter  = poisonPrefix + ">"
	poisonBatches = poisonPrefix + "batch." // and the sink's name, and the batch's id

	// HeaderReason is on messages that are kept aside: why.
	HeaderReason = "Tapedeck-Reason"
	poisonBytes  = 64 << 20
)

// StreamBytes is how much of the server's room this package's streams may take,
// beside those of the layout.
const StreamBytes = ledgerBytes + poisonBytes

// A poisonStore keeps messages aside. The subject of each tells what it is of, so
// that it is kept once, however often and by however many lanes.
type poisonStore struct {
	conn    *bus.Conn
	layout  bus.Layout
	metrics *metrics
	ready   atomic.Bool
}

// keep stores m durably, if nothing is kept under its subject yet.
func (p *poisonStore) keep(ctx context.Context, m *nats.Msg, what string) error {
	if err := p.ensure(ctx); err != nil {
		return err
	}
	_, err := p.conn.JetStream().PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(0))
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep %s aside (%d bytes): %w", m.Subject, len(m.Data), err)
	}
	p.metrics.poison.Add(ctx, 1, metric.WithAttributes(attribute.String("what", what)))
	return nil
}

// ensure makes the stream. It refuses when it is full: nothing kept gives way.
func (p *poisonStore) ensure(ctx context.Context) error {
	if p.ready.Load() {
		return nil
	}
	_, err := p.conn.JetStream().CreateStream(ctx, jetstream.StreamConfig{
		Name: StreamPoison, Description: "Access records and batches that could not be delivered", Subjects: []string{PoisonFilter},
		MaxBytes: poisonBytes, Discard: jetstream.DiscardNew, Storage: p.layout.Storage, Replicas: max(p.layout.Replicas, 1),
		AllowDirect: true,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("create stream %s: %w", StreamPoison, err)
	}
	p.ready.Store(true)
	return nil
}

// Publish keeps batches aside for Watermill's poison queue.
func (p *poisonStore) Publish(topic string, msgs ...*message.Message) error {
	for _, wm := range msgs {
		m := nats.NewMsg(topic + "." + token(wm.UUID))
		m.Data = wm.Payload
		m.Header.Set(accesslog.HeaderBatch, wm.UUID)
		m.Header.Set(HeaderReason, oneLine(wm.Metadata.Get("reason_poisoned")))
		if err := p.keep(wm.Context(), m, "batch"); err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: the connection is the caller's.
func (p *poisonStore) Close() error { return nil }

// token is s as one token of a subject.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(".*>", r) {
			return '_'
		}
		return r
	}, s)
}

// oneLine is s fit for a header.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 1000)]
}
