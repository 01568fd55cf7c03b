// Package telemetry gives a command its logger, its meter and its tracer, and the
// listener that others watch it by.
//
// Two things decide what is set up, and where neither asks, nothing is: meter and
// tracer then do nothing, and cost nothing.
//
//   - A metrics address ([Options]): /metrics for Prometheus, /healthz and /readyz on
//     one listener, and no other paths.
//   - The standard OTEL_* variables: traces and metrics are sent where they say, as
//     the OpenTelemetry specification has them (OTEL_EXPORTER_OTLP_ENDPOINT,
//     OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, …). Other than
//     there, nothing is sent unless a variable names an exporter or an endpoint.
//
// Names of metrics are on /metrics as they are in the code: no suffix is put behind.
// docs/metrics.md lists them.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// Options are the flags of a command that can be watched.
type Options struct {
	MetricsAddr string `name:"metrics-addr" placeholder:"HOST:PORT" env:"TAPEDECK_METRICS_ADDR" help:"Where to answer /metrics (Prometheus), /healthz and /readyz, as HOST:PORT; off: nowhere, which is the default; auto: on 127.0.0.1, port 9464 if it is free, else any. Whoever reaches the address can read them: no content of sessions and no name of one is in them."`
}

// Auto and Off are the addresses that are none.
const (
	Auto = "auto"
	Off  = "off"

	autoAddr = "127.0.0.1:9464" // the port that Prometheus lists for OpenTelemetry
	anyAddr  = "127.0.0.1:0"
)

// on says whether the listener is asked for.
func (o Options) on() bool { return o.MetricsAddr != "" && o.MetricsAddr != Off }

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if !o.on() || o.MetricsAddr == Auto {
		return nil
	}
	_, port, err := net.SplitHostPort(o.MetricsAddr)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		return fmt.Errorf("metrics-addr %q: not HOST:PORT (such as 127.0.0.1:9464), %s or %s", o.MetricsAddr, Auto, Off)
	}
	return nil
}

// Alive asks the process that listens on the address whether work gets through in it.
// Without an address there is nobody to ask, and it says so with ok false.
func (o Options) Alive(ctx context.Context) (ok bool, err error) {
	switch {
	case !o.on():
		return false, nil
	case o.MetricsAddr == Auto:
		return true, health.Ask(ctx, autoAddr)
	}
	return true, health.Ask(ctx, o.MetricsAddr)
}

// flushTimeout is how long Stop may take to send what was measured.
const flushTimeout = 3 * time.Second

// A Telemetry is what [Start] set up. It is safe for concurrent use.
type Telemetry struct {
	Meter  metric.Meter         // never nil
	Tracer trace.TracerProvider // never nil
	Health *health.Monitor      // for the services' checks
	Log    *slog.Logger         // the one that Start was given; its lines have trace ids

	registry  *prometheus.Registry // nil: nobody asks
	measuring bool                 // Meter's measurements go somewhere
	tracing   bool                 // and Tracer's spans
	addr      string
	stops     []func(context.Context) error // last first
	stopped   sync.Once
}

// Start sets up what o and the environment ask for, for the program called service.
// Stop must be called in the end. Errors of exporters go to log from then on, not to
// standard error, which may be somebody's terminal.
func Start(ctx context.Context, service string, o Options, log *slog.Logger) (*Telemetry, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := None()
	t.Log = log
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry is not sent", "err", err) }))
	err := t.start(ctx, service, o)
	if err != nil {
		t.Stop()
		return nil, fmt.Errorf("set up telemetry: %w", err)
	}
	return t, nil
}

// None measures and traces nothing.
func None() *Telemetry {
	return &Telemetry{
		Meter:  metricnoop.NewMeterProvider().Meter(scope),
		Tracer: tracenoop.NewTracerProvider(),
		Health: &health.Monitor{},
		Log:    slog.New(slog.DiscardHandler),
	}
}

const scope = "tapedeck"

func (t *Telemetry) start(ctx context.Context, service string, o Options) error {
	if err := t.measure(ctx, service, o.on()); err != nil {
		return err
	}
	if err := t.traces(ctx, service); err != nil {
		return err
	}
	if !o.on() {
		return nil
	}
	if err := t.observeHealth(); err != nil {
		return err
	}
	return t.listen(o.MetricsAddr)
}

// Spans is Tracer for what wants nil where nothing is traced.
func (t *Telemetry) Spans() trace.TracerProvider {
	if !t.tracing {
		return nil
	}
	return t.Tracer
}

// On says whether anything that is measured goes anywhere.
func (t *Telemetry) On() bool { return len(t.stops) > 0 }

// Addr is where the listener listens; empty if there is none.
func (t *Telemetry) Addr() string { return t.addr }

// Stop ends the listener and sends what was measured; it takes [flushTimeout] at most.
func (t *Telemetry) Stop() {
	t.stopped.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		for i := len(t.stops) - 1; i >= 0; i-- {
			if err := t.stops[i](ctx); err != nil {
				t.Log.Warn("telemetry did not stop well", "err", err)
			}
		}
	})
}

// listen answers on addr until Stop.
func (t *Telemetry) listen(addr string) error {
	first := addr
	if addr == Auto {
		first = autoAddr
	}
	l, err := net.Listen("tcp", first)
	if err != nil && addr == Auto {
		l, err = net.Listen("tcp", anyAddr)
	}
	if err != nil {
		return fmt.Errorf("listen for metrics: %w: choose another with --metrics-addr", err)
	}
	t.addr = l.Addr().String()
	srv := &http.Server{Handler: t.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(t.Log.Handler(), slog.LevelDebug)}
	watching, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { t.Health.Run(watching) })
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Log.Error("metrics are not answered", "addr", t.addr, "err", err)
		}
	})
	t.stops = append(t.stops, func(context.Context) error {
		stop()
		err := srv.Close() // whoever is in the middle of an answer asks again
		wg.Wait()
		return err
	})
	t.Log.Info("metrics and health are answered", "addr", t.addr)
	return nil
}

// handler answers the three paths.
func (t *Telemetry) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", t.metricsHandler())
	mux.Handle("GET /healthz", t.Health.Live())
	mux.Handle("GET /readyz", t.Health.Ready())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "/metrics\n/healthz\n/readyz\n")
	})
	return mux
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// asked says whether one of the variables is set.
func asked(names ...string) bool {
	for _, name := range names {
		if v := os.Getenv(name); v != "" && v != "none" {
			return true
		}
	}
	return false
}
