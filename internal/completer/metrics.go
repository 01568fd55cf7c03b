package completer

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Results of one try of a session, as metrics have them.
const (
	resultDone  = "done"  // everything there was to do for it
	resultLost  = "lost"  // its parts are lost
	resultRetry = "retry" // to be tried again
	resultAlarm = "alarm" // to be tried again, and a person should look
)

type metrics struct {
	sessions metric.Int64Counter
	seconds  metric.Float64Histogram
	working  metric.Int64UpDownCounter
	orphans  metric.Int64Counter
	anew     metric.Int64Counter
	overdue  metric.Int64Gauge
	waited   metric.Float64Gauge
	unread   metric.Int64Gauge
}

func newMetrics(m metric.Meter) (*metrics, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	out := &metrics{}
	var errs [8]error
	out.sessions, errs[0] = m.Int64Counter("tapedeck_completer_sessions_total",
		metric.WithDescription("Tries of sessions that ended, by result: done, lost, retry, alarm."))
	out.seconds, errs[1] = m.Float64Histogram("tapedeck_completer_seconds", metric.WithUnit("s"),
		metric.WithDescription("How long one try of a session took."))
	out.working, errs[2] = m.Int64UpDownCounter("tapedeck_completer_working",
		metric.WithDescription("Sessions at work now."))
	out.orphans, errs[3] = m.Int64Counter("tapedeck_completer_orphans_total",
		metric.WithDescription("Uploads aborted because no log knew them."))
	out.anew, errs[4] = m.Int64Counter("tapedeck_completer_uploaded_anew_total",
		metric.WithDescription("Recordings uploaded anew from the bus because the store had lost their upload."))
	out.overdue, errs[5] = m.Int64Gauge("tapedeck_completer_overdue_sessions",
		metric.WithDescription("Sessions that ended and were not finished when the log was looked through last."))
	out.waited, errs[6] = m.Float64Gauge("tapedeck_completer_overdue_seconds", metric.WithUnit("s"),
		metric.WithDescription("How long the overdue session that ended first had waited when the log was looked through last."))
	out.unread, errs[7] = m.Int64Gauge("tapedeck_completer_unread_records",
		metric.WithDescription("Records of upload logs that the completers had not read when one was read last."))
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("create metrics: %w", err)
		}
	}
	out.zero()
	return out, nil
}

// zero has everything there before it counts anything.
func (m *metrics) zero() {
	ctx := context.Background()
	for _, result := range []string{resultDone, resultLost, resultRetry, resultAlarm} {
		m.sessions.Add(ctx, 0, metric.WithAttributes(attribute.String("result", result)))
	}
	m.working.Add(ctx, 0)
	m.orphans.Add(ctx, 0)
	m.anew.Add(ctx, 0)
	m.overdue.Record(ctx, 0)
	m.waited.Record(ctx, 0)
	m.unread.Record(ctx, 0)
}

func (m *metrics) tried(ctx context.Context, result string, took time.Duration) {
	m.sessions.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
	m.seconds.Record(ctx, took.Seconds())
}
