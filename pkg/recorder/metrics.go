package recorder

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// measure has the meter told what the spool holds. The spool is counted when
// somebody reads the figures.
func measure(opts Options) (unmeasure func() error, err error) {
	if opts.Meter == nil || opts.Spool == nil {
		return func() error { return nil }, nil
	}
	var errs [3]error
	var held, limit, sessions metric.Int64ObservableGauge
	held, errs[0] = opts.Meter.Int64ObservableGauge("tapedeck_producer_spool_bytes",
		metric.WithUnit("By"), metric.WithDescription("What the producer's spool holds of sessions that the bus has not got yet."))
	limit, errs[1] = opts.Meter.Int64ObservableGauge("tapedeck_producer_spool_max_bytes",
		metric.WithUnit("By"), metric.WithDescription("What the producer's spool may hold; at that, sessions wait."))
	sessions, errs[2] = opts.Meter.Int64ObservableGauge("tapedeck_producer_spool_sessions",
		metric.WithDescription("Sessions with events in the producer's spool."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	reg, err := opts.Meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		u, err := opts.Spool.Usage()
		if err != nil {
			return err
		}
		o.ObserveInt64(held, u.Bytes)
		o.ObserveInt64(limit, u.Max)
		o.ObserveInt64(sessions, int64(u.Sessions))
		return nil
	}, held, limit, sessions)
	if err != nil {
		return nil, fmt.Errorf("create metrics: %w", err)
	}
	return reg.Unregister, nil
}
