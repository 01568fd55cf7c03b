package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/health"
)

// ask gets a health report; status 0 if nobody answers.
func ask(t *testing.T, url string) (status int, r health.Report) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, r
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, r
}

func TestReadySaysWhetherEventsGetToTheBus(t *testing.T) {
	for _, policy := range []string{"block", "spool"} {
		t.Run(policy, func(t *testing.T) {
			s := newShaky(t)
			url := "http://" + embedtest.FreeAddr(t)
			cmd := s.command(t, "record", "--on-bus-failure", policy, "--metrics-addr", strings.TrimPrefix(url, "http://"), "--pty", "never", "--",
				"sh", "-c", "while [ ! -e stop ]; do echo tick; sleep 0.05; done")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ready := func(want int) func() bool {
				return func() bool { got, _ := ask(t, url+"/readyz"); return got == want }
			}
			soon(t, "it is ready", ready(http.StatusOK))
			s.srv.Shutdown()
			soon(t, "it is not ready", ready(http.StatusServiceUnavailable))
			if _, r := ask(t, url+"/readyz"); !strings.HasPrefix(r.Problems(), "producer.nats: not connected: ") {
				t.Errorf("the reason: %q", r.Problems())
			}
			if live, r := ask(t, url+"/healthz"); live != http.StatusOK {
				t.Errorf("live: %d %+v", live, r)
			}
			s.up(t)
			soon(t, "it is ready again", ready(http.StatusOK))
			if err := os.WriteFile(filepath.Join(s.dir, "stop"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %s", status(cmd, err))
			}
		})
	}
}

func TestSessionsThatWaitAreAProblemAfterAWhile(t *testing.T) {
	tests := []struct {
		name    string
		waiting []int64 // a look every ten seconds
		problem bool
	}{
		{"none waits", []int64{0, 0, 0, 0, 0}, false},
		{"a leader is elected", []int64{0, 2, 2, 0, 0}, false},
		{"the last look was good", []int64{1, 1, 1, 1, 0}, false},
		{"they waited twice, not for long", []int64{1, 1, 1, 0, 1}, false},
		{"they wait", []int64{1, 1, 2, 2, 1}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w way
				var err error
				for _, n := range tt.waiting {
					err = w.looked(n)
					time.Sleep(10 * time.Second)
				}
				if (err != nil) != tt.problem {
					t.Errorf("problem: %v, want one: %t", err, tt.problem)
				}
			})
		})
	}
}

// A restart would end what is being recorded.
func TestABusThatIsAwayForLongLeavesTheProducerLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w way
		var m health.Monitor
		m.Add("producer", w.checks())
		m.Report(t.Context())
		time.Sleep(10 * health.Grace)
		if r := m.Report(t.Context()); !r.Live || r.Ready || !strings.HasPrefix(r.Problems(), "producer.nats: not connected yet (for 1200 s)") {
			t.Errorf("%+v", r)
		}
	})
}
