package recorder

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// span begins the span of a whole session. Its context is what the bus, and with it
// slicers and completers, are told.
func (r *Recorder) span(ctx context.Context, sid string) (context.Context, trace.Span) {
	return r.opts.Tracer.Start(ctx, "session", trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attribute.String("tapedeck.session", sid), attribute.String("tapedeck.node", r.opts.Node)))
}

// endSpan ends the session's span. Its status is an error if the session could not go
// on; one that was closed may be resumed, in a span of its own.
func (s *Session) endSpan() {
	if !s.span.IsRecording() {
		return
	}
	s.span.SetAttributes(attribute.Bool("tapedeck.ended", s.ended.Load()))
	if err := s.Err(); err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

func fail(span trace.Span, err error) {
	span.SetStatus(codes.Error, err.Error())
	span.End()
}
