package top

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// A Service is a process that answers for its metrics and its health.
type Service struct {
	Addr     string   `json:"addr"`
	Name     string   `json:"service"`
	Version  string   `json:"version"`
	Ready    bool     `json:"ready"`
	Problems []string `json:"problems,omitempty"`
	Error    string   `json:"error,omitempty"` // it does not answer

	families map[string]*dto.MetricFamily
}

// Limits on what a service is believed to say.
const (
	maxMetrics = 16 << 20
	maxReport  = 1 << 20
)

// client asks each time anew: a listener that was started again is found at once.
var client = &http.Client{Timeout: collectTimeout, Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}}

func get(ctx context.Context, addr, path string, limit int64) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	return resp.StatusCode, b, err
}

// scrape reads one service.
func scrape(ctx context.Context, addr string) Service {
	s := Service{Addr: addr}
	status, b, err := get(ctx, addr, "/metrics", maxMetrics)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/metrics: status %d", status)
	}
	if err == nil {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		s.families, err = parser.TextToMetricFamilies(strings.NewReader(string(b)))
	}
	if err != nil {
		s.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
		return s
	}
	if m := s.families["target_info"].GetMetric(); len(m) > 0 {
		s.Name, s.Version = labelOf(m[0], "service_name"), labelOf(m[0], "service_version")
	}
	var r health.Report
	if _, b, err = get(ctx, addr, "/readyz", maxReport); err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		s.Error = "/readyz: " + err.Error()
		return s
	}
	s.Ready = r.Ready
	for _, c := range r.Checks {
		if !c.OK {
			s.Problems = append(s.Problems, fmt.Sprintf("%s: %s (for %s)", c.Name, c.Problem, time.Duration(c.Seconds*1e9).Round(time.Second)))
		}
	}
	return s
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	}
	return 0
}

// sum adds a metric up over its labels and all services; ok if any has it.
func (s *Snapshot) sum(name string) (v float64, ok bool) {
	for _, x := range s.Services {
		for _, m := range x.families[name].GetMetric() {
			v, ok = v+valueOf(m), true
		}
	}
	return v, ok
}

// histogram adds a histogram's count and sum up.
func (s *Snapshot) histogram(name string) (count, sum float64) {
	for _, x := range s.Services {
		for _, m := range x.families[name].GetMetric() {
			count += float64(m.GetHistogram().GetSampleCount())
			sum += m.GetHistogram().GetSampleSum()
		}
	}
	return count, sum
}

// fromMetrics takes what a partition's owner says of it.
func (s *Snapshot) fromMetrics(p *Partition) {
	for name, to := range map[string]*float64{
		"tapedeck_slicer_lag_events": &p.LagEvents, "tapedeck_slicer_lag_bytes": &p.LagBytes,
		"tapedeck_slicer_lag_seconds": &p.LagSeconds, "tapedeck_slicer_event_age_seconds": &p.Age,
	} {
		for _, x := range s.Services {
			for _, m := range x.families[name].GetMetric() {
				if labelOf(m, "partition") == strconv.Itoa(p.Partition) {
					*to = max(*to, valueOf(m))
				}
			}
		}
	}
}
