package site

import (
	"context"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// meters read a service's own metrics, each summed over its labels. Of a histogram
// the sum and the count are read.
type meters struct {
	reader *sdk.ManualReader
	meter  metric.Meter
}

func newMeters() *meters {
	r := sdk.NewManualReader()
	return &meters{reader: r, meter: sdk.NewMeterProvider(sdk.WithReader(r)).Meter("tapedeck")}
}

func (m *meters) values(ctx context.Context) map[string]float64 {
	var all metricdata.ResourceMetrics
	values := map[string]float64{}
	if m.reader.Collect(ctx, &all) != nil {
		return values // it is told again in a moment
	}
	for _, scope := range all.ScopeMetrics {
		for _, x := range scope.Metrics {
			switch d := x.Data.(type) {
			case metricdata.Sum[int64]:
				add(values, x.Name, d.DataPoints)
			case metricdata.Gauge[int64]:
				add(values, x.Name, d.DataPoints)
			case metricdata.Gauge[float64]:
				add(values, x.Name, d.DataPoints)
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					values[x.Name+"_sum"] += p.Sum
					values[x.Name+"_count"] += float64(p.Count)
				}
			}
		}
	}
	return values
}

func add[N int64 | float64](values map[string]float64, name string, points []metricdata.DataPoint[N]) {
	for _, p := range points {
		values[name] += float64(p.Value)
	}
}
