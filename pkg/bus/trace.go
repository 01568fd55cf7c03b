package bus

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// HeaderTrace is W3C's trace context of a session. It is on the first message of each
// writer and on control messages, not on every message; the session's state in the
// upload log keeps the first, so that whoever works on the session continues its
// trace. A header that is no trace context is passed over.
const HeaderTrace = "traceparent"

const traceLen = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")

// Trace is the trace context of the span in ctx, as it stands in [HeaderTrace]; empty
// if there is none, or none that is recorded.
func Trace(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() || !sc.IsSampled() {
		return ""
	}
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01"
}

// WithTrace is ctx with the span that a trace context names for its parent; ctx itself
// if it names none.
func WithTrace(ctx context.Context, s string) context.Context {
	sc, ok := parseTrace(s)
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc)
}

// parseTrace reads version 00, and of later ones what is as in it.
func parseTrace(s string) (trace.SpanContext, bool) {
	var tid trace.TraceID
	var sid trace.SpanID
	var flags [1]byte
	if len(s) != traceLen || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" {
		return trace.SpanContext{}, false
	}
	for _, part := range []struct {
		to   []byte
		from string
	}{{tid[:], s[3:35]}, {sid[:], s[36:52]}, {flags[:], s[53:]}} {
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil {
			return trace.SpanContext{}, false
		}
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: tid, SpanID: sid, TraceFlags: trace.TraceFlags(flags[0]), Remote: true})
	return sc, sc.IsValid()
}

// traceOf is a message's trace context, or "". It goes into the session's state, so
// only what is one is let through.
func traceOf(s string) string {
	if s == "" {
		return ""
	}
	if _, ok := parseTrace(s); !ok {
		return ""
	}
	return s
}
