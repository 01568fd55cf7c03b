package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Live answers 200, or 503 when something has been wrong for [Grace]. The body is
// the [Report] either way.
func (m *Monitor) Live() http.Handler {
	return m.handler(func(r Report) bool { return r.Live })
}

// Ready answers 200, or 503 when anything is wrong. The body is the [Report] either
// way.
func (m *Monitor) Ready() http.Handler {
	return m.handler(func(r Report) bool { return r.Ready })
}

func (m *Monitor) handler(good func(Report) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r := m.Report(req.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !good(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(r) // whoever asked has gone
	})
}

// askTimeout is how long a process may take to answer for its health.
const askTimeout = 5 * time.Second

// Ask asks the process that listens on addr whether it is live, and returns what is
// wrong if it is not. Of an address that means all interfaces it asks this machine.
func Ask(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer resp.Body.Close()
	var r Report
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r); err != nil {
		return fmt.Errorf("ask for health at %s: status %d and no report: %w", url, resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(r.Problems())
	}
	return nil
}
