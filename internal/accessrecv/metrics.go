package accessrecv

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

type metrics struct {
	batches metric.Int64Counter
	records metric.Int64Counter
}

func newMetrics(m metric.Meter) (*metrics, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	out := &metrics{}
	var errs [2]error
	out.batches, errs[0] = m.Int64Counter("tapedeck_access_received_batches_total",
		metric.WithDescription("Batches that came, by transport (http, websocket) and result: stored, repeated, partly, refused, unauthorized, later."))
	out.records, errs[1] = m.Int64Counter("tapedeck_access_received_records_total",
		metric.WithDescription("Records in batches that were read, by result: stored, refused."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	return out, nil
}

func (m *metrics) answered(ctx context.Context, transport string, a *Answer) {
	m.batches.Add(ctx, 1, metric.WithAttributes(attribute.String("transport", transport), attribute.String("result", a.result())))
	if !a.Repeated && a.Stored > 0 {
		m.records.Add(ctx, int64(a.Stored), metric.WithAttributes(attribute.String("result", "stored")))
	}
	if n := len(a.Refused) + a.More; n > 0 {
		m.records.Add(ctx, int64(n), metric.WithAttributes(attribute.String("result", "refused")))
	}
}
