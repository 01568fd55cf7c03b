package accesslog

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

type metrics struct {
	records  metric.Int64Counter
	dropped  metric.Int64Counter
	open     metric.Int64UpDownCounter
	messages metric.Int64Counter
}

func newMetrics(m metric.Meter) (*metrics, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	out := &metrics{}
	var errs [4]error
	out.records, errs[0] = m.Int64Counter("tapedeck_access_records_total",
		metric.WithDescription("Records of access sessions that were made, by kind: start, alive, end."))
	out.dropped, errs[1] = m.Int64Counter("tapedeck_access_dropped_total",
		metric.WithDescription("Records that had to go because the bus took none, by kind."))
	out.open, errs[2] = m.Int64UpDownCounter("tapedeck_access_sessions",
		metric.WithDescription("Access sessions that are open."))
	out.messages, errs[3] = m.Int64Counter("tapedeck_access_messages_total",
		metric.WithDescription("Tries to send a message of records, by result: ok, failed."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	out.zero()
	return out, nil
}

// zero has everything there before it counts anything.
func (m *metrics) zero() {
	ctx := context.Background()
	for _, k := range []Kind{KindStart, KindAlive, KindEnd} {
		m.records.Add(ctx, 0, kindAttr(k))
		m.dropped.Add(ctx, 0, kindAttr(k))
	}
	for _, result := range []string{"ok", "failed"} {
		m.messages.Add(ctx, 0, metric.WithAttributes(attribute.String("result", result)))
	}
	m.open.Add(ctx, 0)
}

// observe registers how much waits, until unregister is called.
func (t *Tracker) observe() (unregister func(), err error) {
	m := t.cfg.Meter
	if m == nil {
		return func() {}, nil
	}
	records, err := m.Int64ObservableGauge("tapedeck_access_spooled_records",
		metric.WithDescription("Records that the bus does not have yet."))
	bytes, err2 := m.Int64ObservableGauge("tapedeck_access_spooled_bytes", metric.WithUnit("By"),
		metric.WithDescription("Bytes of records that wait in memory for the bus."))
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		st := t.Stats()
		o.ObserveInt64(records, int64(st.Spooled))
		o.ObserveInt64(bytes, st.SpooledBytes)
		return nil
	}, records, bytes)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return func() { _ = reg.Unregister() }, nil // fails only for what was never registered
}

func kindAttr(k Kind) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("kind", string(k)))
}

// made counts records, and with them the sessions that are open.
func (m *metrics) made(c Counts) {
	m.each(m.records, c)
	if n := c.Start - c.End; n != 0 {
		m.open.Add(context.Background(), n)
	}
}

func (m *metrics) gone(c Counts) { m.each(m.dropped, c) }

func (m *metrics) each(to metric.Int64Counter, c Counts) {
	for _, k := range []struct {
		kind Kind
		n    int64
	}{{KindStart, c.Start}, {KindAlive, c.Alive}, {KindEnd, c.End}} {
		if k.n > 0 {
			to.Add(context.Background(), k.n, kindAttr(k.kind))
		}
	}
}

func (m *metrics) sent(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.messages.Add(context.Background(), 1, metric.WithAttributes(attribute.String("result", result)))
}
