package telemetry_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A span is one as the JSON file has it.
type span struct {
	Name        string
	SpanContext struct{ TraceID, SpanID string }
	Parent      struct{ TraceID, SpanID string }
	Status      struct{ Code string }
	Resource    []struct {
		Key   string
		Value struct{ Value any }
	}
}

func (s span) service() string {
	for _, a := range s.Resource {
		if a.Key == "service.name" {
			return a.Value.Value.(string)
		}
	}
	return ""
}

// A traceRig is a bus, a store and a file that all spans go to.
type traceRig struct {
	t      *testing.T
	url    string
	s3     s3store.Options
	layout bus.Layout
	file   *os.File
	logs   *lines
}

// lines keeps what is logged, for several goroutines.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func newTraceRig(t *testing.T) *traceRig {
	t.Helper()
	path := os.Getenv("TAPEDECK_TRACE_JSON") // to look at
	if path == "" {
		path = filepath.Join(t.TempDir(), "trace.json")
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	r := &traceRig{t: t, url: embedtest.NATS(t), s3: embedtest.S3(t), file: f, logs: &lines{}}
	if r.layout, err = bus.Ensure(t.Context(), r.conn(), bus.Layout{Partitions: 1, EventsMaxBytes: 256 << 20, UploadsMaxBytes: 128 << 20}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *traceRig) conn() *bus.Conn {
	r.t.Helper()
	c, err := bus.Connect(r.t.Context(), bus.Options{URL: []string{r.url}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// provider traces for a service of that name.
func (r *traceRig) provider(service string) trace.TracerProvider {
	r.t.Helper()
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(r.file))
	if err != nil {
		r.t.Fatal(err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	r.t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return p
}

func (r *traceRig) log() *slog.Logger {
	return slog.New(telemetry.Traced(slog.NewJSONHandler(r.logs, nil)))
}

func (r *traceRig) store(p trace.TracerProvider) *s3store.Store {
	r.t.Helper()
	opt := r.s3
	opt.Tracer = p
	s, err := s3store.Open(r.t.Context(), opt, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	return s
}

// serve runs a service until stop is called or the test ends.
func (r *traceRig) serve(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			r.t.Errorf("service: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	return stop
}

func (r *traceRig) slicer(name string) (stop func()) {
	r.t.Helper()
	p := r.provider(name)
	s, err := slicer.New(slicer.DefaultConfig(), slicer.Deps{Conn: r.conn(), Layout: r.layout, Store: r.store(p), Log: r.log(), Tracer: p.Tracer("test")})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.serve(s.Run)
}

// spans are those of the file so far, whole ones only.
func (r *traceRig) spans() []span {
	r.t.Helper()
	f, err := os.Open(r.file.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	var all []span
	for dec := json.NewDecoder(f); ; {
		var s span
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, s)
	}
}

// wait waits for a span of a service.
func (r *traceRig) wait(service, name string) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, s := range r.spans() {
			if s.service() == service && s.Name == name {
				return
			}
		}
	}
	r.t.Fatalf("no span %q of %s; there are %v", name, service, names(r.spans()))
}

func names(spans []span) (all []string) {
	for _, s := range spans {
		all = append(all, s.service()+": "+s.Name)
	}
	return all
}

// A session is recorded, changes slicers in the middle, and is completed; all of it
// is one trace, and the logs speak of it.
func TestOneTraceShowsASessionsLife(t *testing.T) {
	r := newTraceRig(t)
	stopFirst := r.slicer("slicer-1")
	rec, err := recorder.New(r.conn(), r.layout, recorder.Options{Node: "n1", Tracer: r.provider("producer").Tracer("test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	s, err := rec.Start(t.Context(), recorder.Spec{ID: "traced", User: "joe", Width: 80, Height: 24})
	if err != nil {
		t.Fatal(err)
	}
	// More than a part, of what does not compress below three quarters.
	rnd, raw := rand.NewChaCha8([32]byte{1}), make([]byte, 48<<10)
	for range 160 {
		_, _ = rnd.Read(raw)
		if _, err := io.WriteString(s, base64.StdEncoding.EncodeToString(raw)); err != nil {
			t.Fatal(err)
		}
	}
	r.wait("slicer-1", "commit part")
	stopSecond := r.slicer("slicer-2")
	stopFirst()
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wait("slicer-2", "commit ended")
	p := r.provider("completer")
	c, err := completer.New(completer.DefaultConfig(), completer.Deps{Conn: r.conn(), Layout: r.layout, Store: r.store(p), Bucket: r.s3.Bucket, Log: r.log(), Tracer: p.Tracer("test")})
	if err != nil {
		t.Fatal(err)
	}
	stopThird := r.serve(c.Run)
	r.wait("completer", "complete session")
	stopSecond()
	stopThird()
	checkTrace(t, r.spans(), r.logs)
}

func checkTrace(t *testing.T, spans []span, logs *lines) {
	t.Helper()
	ids, have := map[string]bool{}, map[string]bool{}
	for _, s := range spans {
		ids[s.SpanContext.SpanID] = true
		have[s.service()+": "+s.Name] = true
	}
	for _, want := range []string{
		"producer: session", "producer: publish session start", "producer: publish session end",
		"slicer-1: create upload", "slicer-1: S3.CreateMultipartUpload", "slicer-1: upload part", "slicer-1: S3.UploadPart", "slicer-1: commit part",
		"slicer-2: upload part", "slicer-2: S3.UploadPart", "slicer-2: commit ended",
		"completer: complete session", "completer: S3.CompleteMultipartUpload", "completer: S3.PutObject",
	} {
		if !have[want] {
			t.Errorf("no span %q; there are %v", want, names(spans))
		}
	}
	root := ""
	for _, s := range spans {
		if s.SpanContext.TraceID != spans[0].SpanContext.TraceID {
			t.Errorf("%s: %s is of another trace", s.service(), s.Name)
		}
		if s.Status.Code == "Error" {
			t.Errorf("%s: %s failed", s.service(), s.Name)
		}
		switch {
		case s.Name == "session":
			root = s.SpanContext.SpanID
		case !ids[s.Parent.SpanID]:
			t.Errorf("%s: %s has a parent that is not there", s.service(), s.Name)
		}
	}
	if root == "" {
		t.Error("the session's own span is not there")
	}
	for _, msg := range []string{"session's end is committed", "recording completed"} {
		if !hasLine(logs, msg, spans[0].SpanContext.TraceID) {
			t.Errorf("no line %q of the log has the trace's id", msg)
		}
	}
}

func hasLine(logs *lines, msg, id string) bool {
	logs.mu.Lock()
	defer logs.mu.Unlock()
	for line := range strings.Lines(logs.b.String()) {
		var l struct {
			Msg     string `json:"msg"`
			TraceID string `json:"trace_id"`
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == msg && l.TraceID == id {
			return true
		}
	}
	return false
}
