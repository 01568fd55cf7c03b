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
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
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

// A site is where the completer's processes run: a bus, and a store with a bucket.
type site struct {
	nats  string
	store s3store.Options
	conn  *bus.Conn
}

// newSite is a site whose bus has no streams yet.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{nats: embedtest.NATS(t), store: embedtest.S3(t)}
	var err error
	if s.conn, err = bus.Connect(t.Context(), bus.Options{URL: []string{s.nats}}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	return s
}

// install makes the streams.
func (s *site) install(t *testing.T) {
	t.Helper()
	if _, err := bus.Ensure(t.Context(), s.conn, bus.Layout{Partitions: 1, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
}

// command is a completer of the site.
func (s *site) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, append([]string{"--nats-url=" + s.nats, "--log-format=json",
		"--s3-bucket=" + s.store.Bucket, "--s3-endpoint=" + s.store.Endpoint, "--s3-path-style"}, args...)...)
	cmd.Env = append(cmd.Env, "TAPEDECK_S3_ACCESS_KEY="+s.store.AccessKey, "TAPEDECK_S3_SECRET_KEY="+s.store.SecretKey)
	return cmd
}

// start starts a completer whose lines can be read, and that stop ends.
func (s *site) start(t *testing.T, args ...string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = s.command(t, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stderr)
}

// stop tells a completer to stop and reads its lines to the end.
func stop(t *testing.T, cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
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

func TestItRunsUntilASignal(t *testing.T) {
	s := newSite(t)
	cmd := s.command(t)
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "streams") {
		t.Fatalf("before it is installed: status %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
	s.install(t)
	cmd, lines := s.start(t)
	for lines.Scan() && !strings.Contains(lines.Text(), "completer started") {
	}
	stop(t, cmd, lines)
}

// A store that is busy when the completer starts is waited for, and /readyz says so.
func TestItWaitsForTheStore(t *testing.T) {
	s := newSite(t)
	s.install(t)
	var mend func()
	s.store.Endpoint, mend = busyStore(t, s.store.Endpoint)
	cmd, lines := s.start(t, "--metrics-addr=127.0.0.1:0", "--s3-attempts=1")
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
	stop(t, cmd, lines)
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
