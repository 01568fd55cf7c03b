package slicer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// observe registers what is asked for when metrics are read, until unregister is
// called. A partition that was given up is no longer told of.
func (s *Slicer) observe() (unregister func(), err error) {
	var errs []error
	var all []metric.Observable
	ints := func(name, unit, help string) metric.Int64ObservableGauge {
		g, err := s.deps.Meter.Int64ObservableGauge("tapedeck_slicer_"+name, metric.WithUnit(unit), metric.WithDescription(help))
		errs, all = append(errs, err), append(all, g)
		return g
	}
	floats := func(name, help string) metric.Float64ObservableGauge {
		g, err := s.deps.Meter.Float64ObservableGauge("tapedeck_slicer_"+name, metric.WithUnit("s"), metric.WithDescription(help))
		errs, all = append(errs, err), append(all, g)
		return g
	}
	held := ints("held_bytes", "By", "Memory held by slices, parts and waiting messages.")
	budget := ints("memory_budget_bytes", "By", "Memory that slices, parts and waiting messages may hold.")
	kept := ints("checkpoint_kept_bytes", "By", "Bytes of checkpoints that lie on the bus.")
	own := ints("partitions", "", "Partitions held.")
	named := ints("partitions_assigned", "", "Partitions that fall to this slicer, held or not.")
	members := ints("members", "", "Slicers that are there, as this one sees it.")
	cursor := ints("cursor", "", "Cursor of a partition: a sequence of its stream.")
	unread := ints("unread_messages", "", "Messages of a partition that were not read yet.")
	unarchived := ints("unarchived_messages", "", "Messages of a partition that the cursor has not passed.")
	lagEvents := ints("lag_events", "", "Events of a partition that were not read yet; an estimate, by the events in a message so far.")
	lagBytes := ints("lag_bytes", "By", "Bytes of a partition that were not read yet; an estimate, by the mean size of its messages.")
	lagSeconds := floats("lag_seconds", "How far behind the bus's clock a partition is read; 0 if all is read.")
	age := floats("event_age_seconds", "Age of the oldest event of a partition that the cursor has not passed, by the bus's clock.")
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("create instruments: %w", err)
	}
	reg, err := s.deps.Meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(held, s.mem.used.Load())
		o.ObserveInt64(budget, s.mem.limit)
		o.ObserveInt64(kept, s.kept.used.Load())
		s.mu.Lock()
		o.ObserveInt64(named, int64(len(s.own)))
		s.mu.Unlock()
		live, _ := s.members.Live()
		o.ObserveInt64(members, int64(len(live)))
		n := s.claims.each(func(p int, st *standing) {
			at := metric.WithAttributes(attribute.String("partition", strconv.Itoa(p)))
			o.ObserveInt64(cursor, int64(st.cursor), at)
			o.ObserveInt64(unread, int64(st.last-st.read), at)
			o.ObserveInt64(unarchived, int64(st.last-min(st.cursor, st.last)), at)
			o.ObserveInt64(lagEvents, st.lagEvents, at)
			o.ObserveInt64(lagBytes, st.lagBytes, at)
			o.ObserveFloat64(lagSeconds, st.lagSeconds, at)
			o.ObserveFloat64(age, st.age, at)
		})
		o.ObserveInt64(own, int64(n))
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return func() { _ = reg.Unregister() }, nil // fails only for what was never registered
}
