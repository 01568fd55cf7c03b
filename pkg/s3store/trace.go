package s3store

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/tracing"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// The SDK says what it does through an interface of its own. What follows gives that
// an OpenTelemetry tracer: a span for each call, with one in it for each attempt, under
// whoever's span is in the context. A call without one makes none: it belongs to
// nothing that is traced. The SDK's finer steps are left out, and no header is sent.

// traceWith has the client's calls be spans of p, if there is one.
func traceWith(o *s3.Options, p trace.TracerProvider) {
	if p != nil {
		o.TracerProvider = sdkTracer{p.Tracer("github.com/aws/aws-sdk-go-v2/service/s3")}
	}
}

type sdkTracer struct{ to trace.Tracer }

// Tracer is for all scopes.
func (t sdkTracer) Tracer(string, ...tracing.TracerOption) tracing.Tracer { return t }

const attemptSpan = "Attempt"

// StartSpan begins a span under the SDK's current one, which a context may have left
// since.
func (t sdkTracer) StartSpan(ctx context.Context, name string, opts ...tracing.SpanOption) (context.Context, tracing.Span) {
	var o tracing.SpanOptions
	for _, opt := range opts {
		opt(&o)
	}
	if current, ok := tracing.GetSpan(ctx); ok {
		if s, ok := current.(*sdkSpan); ok {
			ctx = trace.ContextWithSpan(ctx, s.to)
		}
	}
	s := &sdkSpan{name: name, to: trace.SpanFromContext(ctx)}
	if s.to.SpanContext().IsValid() && (o.Kind == tracing.SpanKindClient || name == attemptSpan) {
		kind := trace.SpanKindInternal
		if o.Kind == tracing.SpanKindClient {
			kind = trace.SpanKindClient
		}
		ctx, s.to = t.to.Start(ctx, name, trace.WithSpanKind(kind))
		s.own = true
	}
	return tracing.WithSpan(ctx, s), s
}

// An sdkSpan is a step of the SDK. One that is not its own span's is left out.
type sdkSpan struct {
	name string
	to   trace.Span
	own  bool
}

// Name is the SDK's name of the step.
func (s *sdkSpan) Name() string { return s.name }

// Context says which span it is.
func (s *sdkSpan) Context() tracing.SpanContext {
	sc := s.to.SpanContext()
	return tracing.SpanContext{TraceID: sc.TraceID().String(), SpanID: sc.SpanID().String(), IsRemote: sc.IsRemote()}
}

// AddEvent notes a moment.
func (s *sdkSpan) AddEvent(name string, _ ...tracing.EventOption) {
	if s.own {
		s.to.AddEvent(name)
	}
}

// SetStatus says how it went.
func (s *sdkSpan) SetStatus(status tracing.SpanStatus) {
	if s.own && status == tracing.SpanStatusError {
		s.to.SetStatus(codes.Error, "")
	}
}

// SetProperty notes what the SDK says of it.
func (s *sdkSpan) SetProperty(k, v any) {
	if s.own {
		s.to.SetAttributes(attribute.String("aws."+strings.TrimPrefix(fmt.Sprint(k), "aws."), fmt.Sprint(v)))
	}
}

// End ends it.
func (s *sdkSpan) End() {
	if s.own {
		s.to.End()
	}
}
