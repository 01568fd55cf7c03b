package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("COMPLETER_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "COMPLETER_TEST_MAIN=1")
	return cmd
}

func TestExitStatusAndOneClearLine(t *testing.T) {
	tests := []struct {
		name, args, says string
		status           int
	}{
		{"version", "--version", "completer ", 0},
		{"help", "--help", "Usage:", 0},
		{"unknown flag", "--nonsense", "unknown flag --nonsense", 2},
		{"a value out of bounds", "--s3-bucket=abc --concurrency=0", "concurrency: 0 is not within", 2},
		{"no NATS", "--s3-bucket=abc --nats-url=nats://127.0.0.1:1", "connect to NATS", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := command(t, strings.Fields(tt.args)...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.Contains(string(out), tt.says) {
				t.Errorf("status %d, want %d; output:\n%s", got, tt.status, out)
			}
			if tt.status != 0 && strings.Count(string(out), "\n") != 1 {
				t.Errorf("more than one line:\n%s", out)
			}
		})
	}
}

func TestItRunsUntilASignal(t *testing.T) {
	url, store := embedtest.NATS(t), embedtest.S3(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	args := []string{"--nats-url=" + url, "--log-format=json", "--s3-bucket=" + store.Bucket, "--s3-endpoint=" + store.Endpoint, "--s3-path-style"}
	env := []string{"TAPEDECK_S3_ACCESS_KEY=" + store.AccessKey, "TAPEDECK_S3_SECRET_KEY=" + store.SecretKey}

	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, env...)
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "streams") {
		t.Fatalf("before it is installed: status %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
	if _, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 1, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	cmd = command(t, args...)
	cmd.Env = append(cmd.Env, env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "completer started") {
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v", err)
	}
}

// A store that is busy when the completer starts is waited for, and /readyz says so.
func TestItWaitsForTheStore(t *testing.T) {
	nats, store := embedtest.NATS(t), embedtest.S3(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{nats}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 1, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	endpoint, mend := busyStore(t, store.Endpoint)
	cmd := command(t, "--nats-url="+nats, "--log-format=json", "--metrics-addr=127.0.0.1:0", "--s3-attempts=1",
		"--s3-bucket="+store.Bucket, "--s3-endpoint="+endpoint, "--s3-path-style")
	cmd.Env = append(cmd.Env, "TAPEDECK_S3_ACCESS_KEY="+store.AccessKey, "TAPEDECK_S3_SECRET_KEY="+store.SecretKey)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	until := func(msg string) (line map[string]any) {
		t.Helper()
		for lines.Scan() {
			if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line["msg"] == msg {
				return line
			}
		}
		t.Fatalf("the completer ended without saying: %s", msg)
		return nil
	}
	addr := until("metrics and health are answered")["addr"].(string)
	until("the store does not answer for its bucket")
	if status, body := get(t, "http://"+addr+"/readyz"); status != http.StatusServiceUnavailable ||
		!strings.Contains(body, "completer.start") || !strings.Contains(body, "status 503") {
		t.Errorf("/readyz while the store is busy: %d %s", status, body)
	}
	mend()
	until("completer started")
	if status, body := get(t, "http://"+addr+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v", err)
	}
}

// busyStore stands before a store and answers 503 until it is mended.
func busyStore(t *testing.T, endpoint string) (at string, mend func()) {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections) // the gateway waits for them when it stops
	store := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	var mended atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mended.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() { mended.Store(true) }
}

func get(t *testing.T, addr string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
