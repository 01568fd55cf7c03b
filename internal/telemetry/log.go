package telemetry

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// A LogOptions are the flags of what a command logs.
type LogOptions struct {
	LogLevel  slog.Level `name:"log-level" default:"info" env:"TAPEDECK_LOG_LEVEL" help:"What to log: debug, info, warn or error."`
	LogFormat string     `name:"log-format" default:"text" enum:"text,json" env:"TAPEDECK_LOG_FORMAT" help:"How: text or json. Lines about a session that is traced carry trace_id and span_id."`
}

// Logger logs to w as the flags say.
func (o LogOptions) Logger(w io.Writer) *slog.Logger {
	opt := &slog.HandlerOptions{Level: o.LogLevel}
	if o.LogFormat == "json" {
		return slog.New(Traced(slog.NewJSONHandler(w, opt)))
	}
	return slog.New(Traced(slog.NewTextHandler(w, opt)))
}

// Traced is a handler that adds the ids of the span in a line's context, if there is
// one: trace_id and span_id, in hexadecimal as W3C has them.
func Traced(h slog.Handler) slog.Handler { return traced{h} }

type traced struct{ slog.Handler }

// Handle adds the ids.
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the handler around.
func (h traced) WithAttrs(as []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(as)} }

// WithGroup keeps the handler around.
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
