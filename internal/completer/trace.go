package completer

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// span begins a span of the session's trace, which its producer began and its log has
// kept, if there is something to do for it. done ends it.
func (c *Completer) span(ctx context.Context, log uploadlog.Log) (_ context.Context, done func(result string, err error)) {
	last := log.Last()
	if last.State.Trace == "" || last.Kind != bus.KindEnded && last.Kind != bus.KindCompleted {
		return ctx, func(string, error) {}
	}
	ctx, span := c.tracer.Start(bus.WithTrace(ctx, last.State.Trace), "complete session", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("tapedeck.session", log.SID), attribute.String("tapedeck.after", last.Kind)))
	return ctx, func(result string, err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.SetAttributes(attribute.String("tapedeck.result", result))
		span.End()
	}
}
