package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/site"
)

// A sampler looks at everything again and again while load is made.
type sampler struct {
	m     *measurement
	begin time.Time
	over  atomic.Bool // publishing has ended

	first  map[string]site.Usage
	before map[string]site.Usage
	counts map[string]site.Counts // at the beginning
	last   load.Progress
	lastAt time.Time
	series []report.Sample
}

func newSampler(m *measurement, begin time.Time) *sampler {
	u := m.site.Usage()
	return &sampler{m: m, begin: begin, first: u, before: u, counts: m.site.Counts(), lastAt: begin}
}

// maxSamples bounds the series: when it is full every second sample is dropped and
// the next ones come half as often.
const maxSamples = 1200

// run samples until stop is closed. A service that ends by itself ends the test.
func (s *sampler) run(ctx context.Context, stop <-chan struct{}, cancel context.CancelCauseFunc) {
	every := time.Second
	if s.m.Duration > 0 {
		every = min(every, max(s.m.Duration/40, 100*time.Millisecond))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			s.sample(ctx)
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.m.site.Err(); err != nil {
			cancel(err)
			return
		}
		s.sample(ctx)
		if len(s.series) >= maxSamples {
			s.series = slices.DeleteFunc(s.series, func(x report.Sample) bool { return int(x.T/every.Seconds())%2 == 1 })
			every *= 2
			tick.Reset(every)
		}
	}
}

func (s *sampler) sample(ctx context.Context) {
	now, p, usage := time.Now(), s.m.load.Progress(), s.m.site.Usage()
	elapsed := now.Sub(s.lastAt).Seconds()
	lag, err := s.m.site.Lag(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.m.log.Warn("the slicers' lag is not known", "err", err)
	}
	ack := s.m.load.Ack.Interval()
	x := report.Sample{
		T: now.Sub(s.begin).Seconds(), Open: p.Open, Stopped: s.over.Load(),
		Rate: float64(p.Acked-s.last.Acked) / elapsed, Bytes: float64(p.AckedBytes-s.last.AckedBytes) / elapsed,
		Ack50: ack.P50, Ack99: ack.P99, Follow: s.m.load.Followed.Interval().P99, Finish: s.m.load.Finish.Interval().P99,
		Lag: lag, Unread: s.m.site.Counts()["slicer"].Metrics["tapedeck_slicer_unread_messages"],
		Cores: map[string]float64{}, RSS: map[string]int64{},
	}
	for name, u := range usage {
		x.Cores[name] = max(0, u.CPU-s.before[name].CPU) / elapsed
		x.RSS[name] = u.RSS
	}
	s.series = append(s.series, x)
	s.last, s.lastAt, s.before = p, now, usage
	s.m.screen.progress(s.m.command, x, p)
}

// finish puts into the report what was sampled.
func (s *sampler) finish(r *report.Report, took time.Duration) {
	r.Series = s.series
	for _, x := range s.series {
		r.Lag.Max = max(r.Lag.Max, x.Lag)
		r.Lag.Last = x.Lag
	}
	end := s.m.site.Usage()
	for _, name := range slices.Sorted(maps.Keys(end)) {
		v := report.Service{Name: name, CPU: end[name].CPU - s.first[name].CPU}
		v.Cores = v.CPU / took.Seconds()
		for _, x := range s.series {
			v.RSS = max(v.RSS, x.RSS[name])
		}
		r.Services = append(r.Services, v)
	}
	r.Metrics = map[string]float64{}
	for name, c := range s.m.site.Counts() {
		a := s.counts[name].Store
		r.S3.Requests += c.Store.Requests - a.Requests
		r.S3.Failed += c.Store.Failed - a.Failed
		r.S3.Uploaded += c.Store.Uploaded - a.Uploaded
		r.S3.Downloaded += c.Store.Downloaded - a.Downloaded
		maps.Copy(r.Metrics, c.Metrics)
	}
}
