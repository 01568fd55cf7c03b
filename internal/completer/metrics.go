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
}

func newMetrics(m metric.Meter) (*metrics, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	out := &metrics{}
	var errs [5]error
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
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("create metrics: %w", err)
		}
	}
	return out, nil
}

func (m *metrics) tried(ctx context.Context, result string, took time.Duration) {
	m.sessions.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
	m.seconds.Record(ctx, took.Seconds())
}
