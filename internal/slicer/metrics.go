package slicer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// metrics are the slicer's instruments. No label holds a session or a node.
type metrics struct {
	sessions                                  metric.Int64UpDownCounter
	messages, events, duplicates, gaps, gone  metric.Int64Counter
	bytes, retries, refusals, ended           metric.Int64Counter
	checkpoints, checkpointBytes, letgo       metric.Int64Counter
	abandoned, restarts, lost, parked         metric.Int64Counter
	trimmed, takeovers, fenced                metric.Int64Counter
	commits, uploads                          metric.Float64Histogram
	held, kept, lag, lagMessages, cursor, own metric.Int64Gauge
	age                                       metric.Float64Gauge

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
		return c
	}
	gauge := func(name, unit, help string) metric.Int64Gauge {
		g, err := m.Int64Gauge("tapedeck_slicer_"+name, metric.WithUnit(unit), metric.WithDescription(help))
		keep(err)
		return g
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
	x.age, err = m.Float64Gauge("tapedeck_slicer_event_age_seconds", metric.WithUnit("s"), metric.WithDescription("Age of the oldest event that the cursor has not passed, by partition."))
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
	x.held = gauge("held_bytes", "By", "Memory held by slices, parts and waiting messages.")
	x.kept = gauge("checkpoint_kept_bytes", "By", "Bytes of checkpoints that lie on the bus.")
	x.lag = gauge("unread_messages", "", "Messages of a partition that were not read yet.")
	x.lagMessages = gauge("unarchived_messages", "", "Messages of a partition that the cursor has not passed.")
	x.cursor = gauge("cursor", "", "Cursor of a partition.")
	x.own = gauge("partitions", "", "Partitions owned.")
	parts := counter("parts_total", "", "Parts by what became of them.")
	for _, r := range []string{"ok", "gone", "checkpoint", "other"} {
		x.parts[r] = counted{parts, metric.WithAttributeSet(attribute.NewSet(attribute.String("result", r)))}
	}
	lates := counter("late_total", "", "Messages put under .late, by reason.")
	for _, r := range []string{lateSubject, latePartition, lateNode, lateEnded, lateIndex, lateRange, latePayload, lateControl, lateVersion} {
		x.lates[r] = counted{lates, metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", r)))}
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

// gauge reports where the partition stands.
func (p *partition) gauge() {
	if p.now.Sub(p.gaugedAt) < 1e9 {
		return
	}
	p.gaugedAt = p.now
	at := metric.WithAttributes(attribute.String("partition", strconv.Itoa(p.p)))
	p.met.held.Record(p.ctx, p.mem.used.Load())
	p.met.kept.Record(p.ctx, p.kept.used.Load())
	p.met.lag.Record(p.ctx, int64(p.lastSeq)-int64(min(p.read, p.lastSeq)), at)
	p.met.lagMessages.Record(p.ctx, int64(p.lastSeq)-int64(min(p.cursor, p.lastSeq)), at)
	p.met.cursor.Record(p.ctx, int64(p.cursor), at)
	age := 0.0
	if s := p.dirty.front; s != nil {
		age = float64(p.clock()-s.dirtyAt) / 1e9
	}
	p.met.age.Record(p.ctx, age, at)
}
