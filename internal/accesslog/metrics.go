package accesslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

type metrics struct {
	batches  metric.Int64Counter
	records  metric.Int64Counter
	attempts metric.Int64Counter
	seconds  metric.Float64Histogram
	poison   metric.Int64Counter
	expired  metric.Int64Counter
	lag      metric.Int64Gauge
}

func newMetrics(m metric.Meter) (*metrics, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	out := &metrics{}
	var errs [7]error
	out.batches, errs[0] = m.Int64Counter("tapedeck_accesslog_batches_total",
		metric.WithDescription("Batches that are done with, by sink and result: ok, kept_aside."))
	out.records, errs[1] = m.Int64Counter("tapedeck_accesslog_records_total",
		metric.WithDescription("Records in batches that sinks have, by sink."))
	out.attempts, errs[2] = m.Int64Counter("tapedeck_accesslog_attempts_total",
		metric.WithDescription("Tries of batches, by sink and result: ok, refused, retry."))
	out.seconds, errs[3] = m.Float64Histogram("tapedeck_accesslog_batch_seconds", metric.WithUnit("s"),
		metric.WithDescription("From a batch's first try until the sink had it."))
	out.poison, errs[4] = m.Int64Counter("tapedeck_accesslog_poison_total",
		metric.WithDescription("Messages and batches kept aside, by what: message, batch."))
	out.expired, errs[5] = m.Int64Counter("tapedeck_accesslog_expired_total",
		metric.WithDescription("Messages that left the stream before the sink had them, by sink."))
	out.lag, errs[6] = m.Int64Gauge("tapedeck_accesslog_lag_messages",
		metric.WithDescription("Messages that the stream holds and the lane has not read, by sink."))
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("create metrics: %w", err)
		}
	}
	return out, nil
}

// zero has what is counted for a sink there before anything is.
func (m *metrics) zero(sink string) {
	ctx, at := context.Background(), sinkLabel(sink)
	for _, r := range []string{"ok", "kept_aside"} {
		m.batches.Add(ctx, 0, metric.WithAttributes(at, attribute.String("result", r)))
	}
	for _, r := range []string{"ok", "refused", "retry"} {
		m.attempts.Add(ctx, 0, metric.WithAttributes(at, attribute.String("result", r)))
	}
	for _, what := range []string{"message", "batch"} {
		m.poison.Add(ctx, 0, metric.WithAttributes(attribute.String("what", what)))
	}
	m.records.Add(ctx, 0, metric.WithAttributes(at))
	m.expired.Add(ctx, 0, metric.WithAttributes(at))
	m.lag.Record(ctx, 0, metric.WithAttributes(at))
}

func sinkLabel(name string) attribute.KeyValue { return attribute.String("sink", name) }

func (m *metrics) tried(ctx context.Context, sink string, err error) {
	result := "ok"
	switch {
	case errors.Is(err, ErrRefused):
		result = "refused"
	case err != nil:
		result = "retry"
	}
	m.attempts.Add(ctx, 1, metric.WithAttributes(sinkLabel(sink), attribute.String("result", result)))
}

func (m *metrics) delivered(ctx context.Context, sink string, records int, took time.Duration) {
	m.batches.Add(ctx, 1, metric.WithAttributes(sinkLabel(sink), attribute.String("result", "ok")))
	m.records.Add(ctx, int64(records), metric.WithAttributes(sinkLabel(sink)))
	m.seconds.Record(ctx, took.Seconds(), metric.WithAttributes(sinkLabel(sink)))
}
