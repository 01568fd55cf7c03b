package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/health"
)

// A page that is served apart says whether it works, and that it does not once the bus
// is gone.
func TestServeIsWatched(t *testing.T) {
	in := startInstallation(t)
	in.must(t, "token", "add", "--dir", in.dir, "somebody")
	addr := embedtest.FreeAddr(t)
	said := new(syncBuffer)
	serve := in.command(t.Context(), "serve", "--listen", "127.0.0.1:0", "--metrics-addr", addr)
	serve.Stdout, serve.Stderr = said, said
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopServe(t, serve, said) })

	await(t, said, addr, http.StatusOK, func(r health.Report) bool { return len(r.Checks) == 2 })
	if _, text := get(t, addr, "/metrics"); !strings.Contains(text, "tapedeck_nats_connected 1") {
		t.Errorf("metrics do not say that the bus is connected:\n%s", text)
	}
	in.kill()
	await(t, said, addr, http.StatusServiceUnavailable, func(r health.Report) bool {
		return slices.ContainsFunc(r.Checks, func(c health.Result) bool { return c.Name == "web.nats" && !c.OK })
	})
	if status, text := get(t, addr, "/healthz"); status != http.StatusOK {
		t.Errorf("status %d although a bus that is gone for a moment is no reason to start anew: %s", status, text)
	}
}

func stopServe(t *testing.T, serve *exec.Cmd, said *syncBuffer) {
	_ = serve.Process.Signal(syscall.SIGTERM)
	if err := serve.Wait(); err != nil && t.Context().Err() == nil {
		t.Errorf("serve: %v\n%s", err, said)
	}
}

// get asks for a path; status 0: nobody answers.
func get(t *testing.T, addr, path string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// await waits until /readyz has the status and says what is wanted.
func await(t *testing.T, said *syncBuffer, addr string, status int, ok func(health.Report) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, text := get(t, addr, "/readyz")
		var r health.Report
		if got == status && json.Unmarshal([]byte(text), &r) == nil && ok(r) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("readyz has status %d, want %d: %s\nserve said:\n%s", got, status, text, said)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
