package slicer

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// begin begins a span of a session's trace, which its producer began and its state in
// the log has kept. Sessions that are not traced get no span.
func (s *shared) begin(ctx context.Context, session, inTrace, what string, attrs ...attribute.KeyValue) (context.Context, func(error)) {
	if inTrace == "" {
		return ctx, func(error) {}
	}
	ctx, span := s.deps.Tracer.Start(bus.WithTrace(ctx, inTrace), what, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(append(attrs, attribute.String("tapedeck.session", session))...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// committed makes a span of what began at that time and is acknowledged now: several
// sessions share one write.
func (s *shared) committed(ctx context.Context, st bus.SessionState, kind string, seq uint64, began time.Time) {
	if st.Trace == "" {
		return
	}
	_, span := s.deps.Tracer.Start(bus.WithTrace(ctx, st.Trace), "commit "+kind, trace.WithTimestamp(began),
		trace.WithAttributes(attribute.String("tapedeck.session", st.SID), attribute.Int64("tapedeck.sequence", int64(seq)),
			attribute.Int64("tapedeck.events", st.Events)))
	span.End()
}

// traced is ctx for a line of the log about a session.
func (s *session) traced(ctx context.Context) context.Context {
	return bus.WithTrace(ctx, s.live.Trace)
}
