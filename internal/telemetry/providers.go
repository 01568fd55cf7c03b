package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	promexport "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tapedeck-io/tapedeck/internal/version"
)

// seconds are the bounds of histograms of durations. The defaults of OpenTelemetry
// are meant for milliseconds.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// off is how the specification has everything turned off.
func off() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// about says what program this is. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
func about(ctx context.Context, service string) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", service),
			attribute.String("service.namespace", "tapedeck"),
			attribute.String("service.version", version.String()),
		),
		resource.WithFromEnv(),
	)
}

// measure sets up the meter, for Prometheus and for what the environment names.
func (t *Telemetry) measure(ctx context.Context, service string, scraped bool) error {
	sent := !off() && os.Getenv("OTEL_METRICS_EXPORTER") != "none" &&
		asked("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
	if !scraped && !sent {
		return nil
	}
	res, err := about(ctx, service)
	if err != nil {
		return err
	}
	opts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithView(sdkmetric.NewView(
		sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram, Unit: "s"},
		sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: seconds}},
	))}
	if scraped {
		t.registry = prometheus.NewRegistry()
		t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		exporter, err := promexport.New(promexport.WithRegisterer(t.registry), promexport.WithoutScopeInfo(),
			promexport.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithoutSuffixes))
		if err != nil {
			return err
		}
		opts = append(opts, sdkmetric.WithReader(exporter))
	}
	if sent {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(reader))
	}
	p := sdkmetric.NewMeterProvider(opts...)
	t.stops = append(t.stops, p.Shutdown)
	t.Meter, t.measuring = p.Meter(scope), true
	return nil
}

// traces sets up the tracer, if the environment asks for it.
func (t *Telemetry) traces(ctx context.Context, service string) error {
	if off() || os.Getenv("OTEL_TRACES_EXPORTER") == "none" ||
		!asked("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
		return nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	res, err := about(ctx, service)
	if err != nil {
		return errors.Join(err, exporter.Shutdown(ctx))
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	t.stops = append(t.stops, p.Shutdown)
	t.Tracer, t.tracing = p, true
	return nil
}

func (t *Telemetry) metricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorLog: promLog{t}})
}

// promLog has what goes wrong with a scrape logged.
type promLog struct{ t *Telemetry }

// Println is what the handler calls.
func (l promLog) Println(v ...any) {
	l.t.Log.Warn("metrics cannot be written", "err", fmt.Sprint(v...))
}

// observeHealth makes a metric of the checks.
func (t *Telemetry) observeHealth() error {
	_, err := t.Meter.Int64ObservableGauge("tapedeck_check_ok",
		metric.WithDescription("1 while a check of /readyz is good, by check."),
		metric.WithInt64Callback(func(ctx context.Context, o metric.Int64Observer) error {
			for _, c := range t.Health.Report(ctx).Checks {
				o.Observe(one(c.OK), metric.WithAttributes(attribute.String("check", c.Name)))
			}
			return nil
		}))
	return err
}
