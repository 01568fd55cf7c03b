package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies counts durations, from 1 µs to 10 min with three digits. It is safe for
// concurrent use; its zero value is empty.
type Latencies struct {
	mu       sync.Mutex
	all      *hdrhistogram.Histogram
	interval *hdrhistogram.Histogram
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
}

// Add counts durations.
func (l *Latencies) Add(ds ...time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all, l.interval = newHistogram(), newHistogram()
	}
	for _, d := range ds {
		us := min(max(d.Microseconds(), 1), (10 * time.Minute).Microseconds())
		// It is within the bounds that the histogram was made for.
		_ = l.all.RecordValue(us)
		_ = l.interval.RecordValue(us)
	}
}

// A Summary is what is kept of a distribution, in milliseconds.
type Summary struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Summary is the summary of all.
func (l *Latencies) Summary() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	return summary(l.all)
}

// Interval is the summary since the last Interval.
func (l *Latencies) Interval() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := summary(l.interval)
	if l.interval != nil {
		l.interval.Reset()
	}
	return s
}

func summary(h *hdrhistogram.Histogram) Summary {
	if h == nil || h.TotalCount() == 0 {
		return Summary{}
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return Summary{
		Count: h.TotalCount(), Mean: h.Mean() / 1000,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1000,
	}
}

// A Point is one point of a distribution's curve.
type Point struct {
	Quantile float64 `json:"q"`
	Millis   float64 `json:"ms"`
}

// Curve is the distribution, denser towards its upper end.
func (l *Latencies) Curve() []Point {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		return nil
	}
	var ps []Point
	for _, b := range l.all.CumulativeDistribution() {
		if b.Quantile < 100 || len(ps) == 0 {
			ps = append(ps, Point{b.Quantile, float64(b.ValueAt) / 1000})
		}
	}
	return ps
}
