package slicer

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// metrics are the slicer's instruments. No label holds a session or a node.
type metrics struct {
	sessions                                 metric.Int64UpDownCounter
	messages, events, duplicates, gaps, gone metric.Int64Counter
	bytes, retries, refusals, ended          metric.Int64Counter
	checkpoints, checkpointBytes, letgo      metric.Int64Counter
	abandoned, restarts, lost, parked        metric.Int64Counter
	trimmed, takeovers, fenced               metric.Int64Counter
	commits, uploads                         metric.Float64Histogram

	parts map[string]counted
	lates map[string]counted
}

// counted is a counter with its label set ready.
type counted struct {
	c   metric.Int64Counter
	opt metric.MeasurementOption
}

func (c counted) add(ctx context.Context) {
	if c.c != nil {
		c.c.Add(ctx, 1, c.opt)
	}
}

// ready makes a counter with its labels, which is there before it counts anything.
func ready(c metric.Int64Counter, opt metric.MeasurementOption) counted {
	if c != nil {
		c.Add(context.Background(), 0, opt)
	}
	return counted{c, opt}
}

func newMetrics(m metric.Meter) (*metrics, error) {
	var errs []error
	keep := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	counter := func(name, unit, help string) metric.Int64Counter {
		c, err := m.Int64Counter("tapedeck_slicer_"+name, metric.WithUnit(unit), metric.WithDescription(help))
		keep(err)
		if err == nil && name != "parts_total" && name != "late_total" {
			c.Add(context.Background(), 0) // it is there before it counts anything
		}
		return c
	}
	seconds := func(name, help string) metric.Float64Histogram {
		h, err := m.Float64Histogram("tapedeck_slicer_"+name, metric.WithUnit("s"), metric.WithDescription(help))
		keep(err)
		return h
	}
	x := &metrics{parts: map[string]counted{}, lates: map[string]counted{}}
	var err error
	x.sessions, err = m.Int64UpDownCounter("tapedeck_slicer_sessions", metric.WithDescription("Open sessions."))
	keep(err)
	x.messages = counter("messages_total", "", "Messages read from the bus.")
	x.events = counter("events_total", "", "Events put into slices.")
	x.duplicates = counter("duplicates_total", "", "Events that came again with the same bytes.")
	x.gaps = counter("gaps_total", "", "Runs of missing indexes.")
	x.gone = counter("messages_gone_total", "", "Messages that left the bus before they were read.")
	x.bytes = counter("part_bytes_total", "By", "Bytes of committed parts.")
	x.retries = counter("retries_total", "", "Tries that failed and are made again.")
	x.refusals = counter("log_refusals_total", "", "Writes that the upload log refused and that are tried again.")
	x.ended = counter("sessions_ended_total", "", "Sessions whose end was committed.")
	x.checkpoints = counter("checkpoints_total", "", "Checkpoint records.")
	x.checkpointBytes = counter("checkpoint_bytes_total", "By", "Bytes of checkpoint records.")
	x.letgo = counter("sessions_let_go_total", "", "Sessions taken out of memory.")
	x.abandoned = counter("sessions_abandoned_total", "", "Sessions whose producer fell silent.")
	x.restarts = counter("sessions_restarted_total", "", "Sessions whose upload was begun anew.")
	x.lost = counter("sessions_lost_total", "", "Sessions with parts that are lost.")
	x.parked = counter("sessions_parked_total", "", "Sessions set aside because the store refused their parts.")
	x.trimmed = counter("messages_trimmed_total", "", "Messages trimmed from EVENTS.")
	x.takeovers = counter("takeovers_total", "", "Partitions claimed.")
	x.fenced = counter("fenced_total", "", "Partitions given up because of the fence or an unknown outcome.")
	x.commits = seconds("commit_seconds", "Duration of a commit to the upload log.")
	x.uploads = seconds("upload_seconds", "Duration of putting a part, retries included.")
	parts := counter("parts_total", "", "Parts by what became of them.")
	for _, r := range []string{"ok", "gone", "checkpoint", "other"} {
		x.parts[r] = ready(parts, metric.WithAttributeSet(attribute.NewSet(attribute.String("result", r))))
	}
	lates := counter("late_total", "", "Messages put under .late, by reason.")
	for _, r := range []string{lateSubject, latePartition, lateNode, lateEnded, lateIndex, lateRange, latePayload, lateControl, lateVersion} {
		x.lates[r] = ready(lates, metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", r))))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("create instruments: %w", err)
	}
	return x, nil
}

// part counts what became of a part.
func (x *metrics) part(ctx context.Context, err error) {
	switch {
	case err == nil:
		x.parts["ok"].add(ctx)
	case errors.Is(err, s3store.ErrUploadGone):
		x.parts["gone"].add(ctx)
	case errors.Is(err, errChain):
		x.parts["checkpoint"].add(ctx)
	default:
		x.parts["other"].add(ctx)
	}
}
