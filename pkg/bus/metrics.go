package bus

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// measure registers what a publisher tells whoever reads metrics. All of it is looked
// up when it is asked for: sessions pay nothing for it.
func (p *Publisher) measure(m metric.Meter) (unregister func(), err error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	var all []metric.Observable
	var errs []error
	gauge := func(name, unit, help string) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge("tapedeck_producer_"+name, metric.WithUnit(unit), metric.WithDescription(help))
		all, errs = append(all, g), append(errs, err)
		return g
	}
	counter := func(name, help string) metric.Int64ObservableCounter {
		c, err := m.Int64ObservableCounter("tapedeck_producer_"+name, metric.WithDescription(help))
		all, errs = append(all, c), append(errs, err)
		return c
	}
	sessions := gauge("sessions", "", "Sessions that are open for publishing.")
	waiting := gauge("waiting_sessions", "", "Open sessions that wait for room, a leader or a connection.")
	queued := gauge("queued_bytes", "By", "Bytes of events that the bus has not acknowledged, in flight or not.")
	inFlight := gauge("in_flight_bytes", "By", "Bytes sent and not acknowledged.")
	messages := counter("messages_total", "Messages that the bus has acknowledged.")
	batched := counter("batched_messages_total", "Messages that travelled in atomic batches and that the bus has acknowledged.")
	events := counter("events_total", "Events that the bus has acknowledged.")
	failed := counter("sessions_failed_total", "Sessions that could not go on: refused, another writer, a closed connection.")
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("create instruments: %w", err)
	}
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		n := p.census()
		o.ObserveInt64(sessions, n.sessions)
		o.ObserveInt64(waiting, n.waiting)
		o.ObserveInt64(queued, n.queued)
		o.ObserveInt64(inFlight, n.inFlight)
		o.ObserveInt64(messages, int64(p.stored.Load()))
		o.ObserveInt64(batched, int64(p.batched.Load()))
		o.ObserveInt64(events, p.eventsStored.Load())
		o.ObserveInt64(failed, p.failed.Load())
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return func() { _ = reg.Unregister() }, nil // fails only for what was never registered
}

// A census is the publisher's sessions, added up.
type census struct{ sessions, waiting, queued, inFlight int64 }

func (p *Publisher) census() census {
	p.mu.Lock()
	n := census{sessions: int64(len(p.streams)), inFlight: int64(p.inFlight)}
	streams := make([]*Stream, 0, len(p.streams))
	for s := range p.streams {
		streams = append(streams, s)
	}
	p.mu.Unlock()
	for _, s := range streams {
		s.mu.Lock()
		n.queued += int64(s.bytes)
		if s.waiting != nil {
			n.waiting++
		}
		s.mu.Unlock()
	}
	return n
}
