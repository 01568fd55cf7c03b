package bus

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

const someTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestATraceContextGoesThere(t *testing.T) {
	ctx := WithTrace(context.Background(), someTrace)
	if got := Trace(ctx); got != someTrace {
		t.Errorf("got %q", got)
	}
	if sc := trace.SpanContextFromContext(ctx); !sc.IsRemote() || !sc.IsSampled() {
		t.Errorf("span context %+v", sc)
	}
	if got := Trace(WithTrace(context.Background(), someTrace[:len(someTrace)-1]+"0")); got != "" {
		t.Errorf("one that is not recorded is passed on as %q", got)
	}
}

func TestWhatIsNoTraceContextIsPassedOver(t *testing.T) {
	zero := "00-00000000000000000000000000000000-b7ad6b7169203331-01"
	for _, s := range []string{"", "x", zero, "ff" + someTrace[2:], someTrace + "-more", someTrace[:3] + "Z" + someTrace[4:], "00_" + someTrace[3:]} {
		if got := traceOf(s); got != "" {
			t.Errorf("%q is read as %q", s, got)
		}
		if Trace(WithTrace(context.Background(), s)) != "" {
			t.Errorf("%q is taken up", s)
		}
	}
}

// The first message of a writer and control messages carry the context, and building
// any other costs what it costs without one.
func TestOnlyFirstAndControlMessagesAreTraced(t *testing.T) {
	traced, plain := &Stream{writer: "w", subject: "s", trace: someTrace}, &Stream{writer: "w", subject: "s"}
	events, end := &message{first: 3, next: 4}, &message{control: ControlEnd, first: 4, next: 4}
	has := func(s *Stream, m *message) bool { return s.build(m).Header.Get(HeaderTrace) != "" }
	if !has(traced, events) || has(plain, events) {
		t.Error("the first message")
	}
	traced.acked, plain.acked = 1, 1
	if has(traced, events) {
		t.Error("a later message carries the context")
	}
	if !has(traced, end) || has(plain, end) {
		t.Error("the control message")
	}
	cost := func(s *Stream) float64 { return testing.AllocsPerRun(100, func() { s.build(events) }) }
	if a, b := cost(traced), cost(plain); a != b {
		t.Errorf("a later message costs %v allocations if the session is traced, else %v", a, b)
	}
}
