package s3store

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.opentelemetry.io/contrib/instrumentation/github.com/aws/aws-sdk-go-v2/otelaws"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// traced has each request be a span of whoever's span is in its context. The trace
// context is not sent along: stores do not know it, and some refuse headers that they
// have not been told of.
func traced(o *s3.Options, p trace.TracerProvider) {
	if p == nil {
		return
	}
	otelaws.AppendMiddlewares(&o.APIOptions, otelaws.WithTracerProvider(children{of: p}),
		otelaws.WithTextMapPropagator(propagation.NewCompositeTextMapPropagator()))
}

// children makes only spans that have a parent: a request that belongs to nothing
// that is traced would be a trace of its own.
type children struct {
	embedded.TracerProvider
	of trace.TracerProvider
}

// Tracer is the provider's, for children only.
func (c children) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return childTracer{of: c.of.Tracer(name, opts...)}
}

type childTracer struct {
	embedded.Tracer
	of trace.Tracer
}

// Start begins a span, or one that is none.
func (t childTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, noop.Span{}
	}
	return t.of.Start(ctx, name, opts...)
}
