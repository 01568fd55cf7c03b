package telemetry_test

import (
	"context"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// start is Start with the environment asking for nothing.
func start(t testing.TB, o telemetry.Options) *telemetry.Telemetry {
	t.Helper()
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_SDK_DISABLED"} {
		t.Setenv(name, "")
	}
	tel, err := telemetry.Start(context.Background(), "test", o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tel.Stop)
	return tel
}

// A work is what a service does for telemetry: two counts for each message that it
// reads, and a span for each part, of a session that is not traced.
type work struct {
	messages, events metric.Int64Counter
	tracer           trace.Tracer
}

func newWork(t testing.TB, tel *telemetry.Telemetry) work {
	t.Helper()
	messages, err := tel.Meter.Int64Counter("test_messages_total")
	if err != nil {
		t.Fatal(err)
	}
	events, err := tel.Meter.Int64Counter("test_events_total")
	if err != nil {
		t.Fatal(err)
	}
	return work{messages, events, tel.Tracer.Tracer("test")}
}

func (w work) message(ctx context.Context) {
	w.messages.Add(ctx, 1)
	w.events.Add(ctx, 7)
}

func (w work) session(ctx context.Context) string {
	ctx, span := w.tracer.Start(ctx, "session")
	defer span.End()
	return bus.Trace(bus.WithTrace(ctx, ""))
}

func TestTurnedOffNothingIsAllocated(t *testing.T) {
	tel := start(t, telemetry.Options{})
	if tel.On() || tel.Addr() != "" || tel.Spans() != nil {
		t.Fatalf("on %t, addr %q", tel.On(), tel.Addr())
	}
	w := newWork(t, tel)
	if n := testing.AllocsPerRun(1000, func() { w.message(context.Background()) }); n != 0 {
		t.Errorf("a message costs %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if w.session(context.Background()) != "" {
			t.Error("a trace context where nothing is traced")
		}
	}); n > 1 { // the context that every Start returns
		t.Errorf("a session costs %v allocations", n)
	}
}

// BenchmarkMessage is what the slicer pays for telemetry for each message of up to
// 64 KiB.
func BenchmarkMessage(b *testing.B) {
	for name, o := range map[string]telemetry.Options{"off": {}, "scraped": {MetricsAddr: "127.0.0.1:0"}} {
		b.Run(name, func(b *testing.B) {
			w, ctx := newWork(b, start(b, o)), context.Background()
			b.ReportAllocs()
			for b.Loop() {
				w.message(ctx)
			}
		})
	}
}

func TestWhatIsWrongWithAnAddressIsSaid(t *testing.T) {
	for _, addr := range []string{"9464", "host", "127.0.0.1:http2x", "127.0.0.1:70000"} {
		if err := (telemetry.Options{MetricsAddr: addr}).Validate(); err == nil {
			t.Errorf("%q is taken for an address", addr)
		}
	}
	first := start(t, telemetry.Options{MetricsAddr: "127.0.0.1:0"})
	if _, err := telemetry.Start(t.Context(), "test", telemetry.Options{MetricsAddr: first.Addr()}, nil); err == nil {
		t.Error("two listen on one port")
	}
	if tel := start(t, telemetry.Options{MetricsAddr: telemetry.Auto}); tel.Addr() == "" {
		t.Error("auto listens nowhere")
	}
}

func TestAnUnknownExporterIsRefused(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
	if _, err := telemetry.Start(t.Context(), "test", telemetry.Options{}, nil); err == nil {
		t.Error("taken")
	}
}
