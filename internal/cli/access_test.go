package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// output may be written and read at the same time.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// runMain runs a command to its end.
func runMain(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	status = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return status, out.String(), errs.String()
}

// background runs a command until the test is over, and waits for it to say
// something with want in it.
func background(t *testing.T, want string, args ...string) (said string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out output
	done := make(chan int, 1)
	go func() { done <- Main(ctx, args, Streams{In: strings.NewReader(""), Out: &out, Err: &out}) }()
	t.Cleanup(func() {
		cancel()
		if status := <-done; status != exitOK {
			t.Errorf("%s: status %d: %s", args, status, out.String())
		}
	})
	waitUntil(t, func() bool { return strings.Contains(out.String(), want) })
	return out.String()
}

func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not come about in 30s")
		}
	}
}

// From a connection through the proxy, the bus, the consumer and the receiver to
// the list.
func TestWhoCameThroughTheProxyIsListed(t *testing.T) {
	url := embedtest.NATS(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "access.db")
	said := background(t, "receiving", "access", "receive", "--listen", "127.0.0.1:0", "--db", db)
	consume(t, conn, layout, strings.TrimSuffix(strings.Fields(said)[4], ","))
	said = background(t, "forwarding", "access", "proxy", "--nats-url", url, "--dir", t.TempDir(), "--listen", "127.0.0.1:0", "--to", echo(t),
		"--resource", "12", "--user", "ada", "--protocol", "tcp", "--quiet")
	addr := strings.Fields(said)[2]
	for range 3 {
		talk(t, addr, 1000)
	}
	open, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })

	list := func(args ...string) string {
		status, stdout, stderr := runMain(t, append([]string{"access", "ls", "--db", db}, args...)...)
		if status != exitOK {
			t.Fatalf("ls %s: status %d: %s", args, status, stderr)
		}
		return stdout
	}
	waitUntil(t, func() bool {
		return strings.Count(list("--format", "json"), "\n") == 4 && strings.Count(list("--state", "ended"), "closed") == 3
	})
	if got := list("--active"); strings.Count(got, "\n") != 2 || !strings.Contains(got, " active ") || !strings.Contains(got, " ada ") {
		t.Errorf("table:\n%s", got)
	}
	for line := range strings.Lines(list("--state", "ended", "--format", "json", "--resource", "12,13", "--source", "127.0.0.0/8", "--since", "1h")) {
		var s jsonAccess
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.BytesTx != 1000 || s.BytesRx != 1000 || s.User != "ada" || s.ResourceID != 12 || s.EndedAt.IsZero() {
			t.Errorf("%s: %v", line, err)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(list("--format", "csv", "--limit", "2"))).ReadAll()
	if err != nil || len(rows) != 3 || rows[0][0] != "sessionId" || rows[1][4] != "ada" || len(rows[1]) != len(rows[0]) {
		t.Errorf("csv: %v, %v", rows, err)
	}
	for _, args := range [][]string{{"--user", "bob"}, {"--until", "2020-01-02"}, {"--resource", "13"}, {"--source", "10.0.0.1"}, {"--state", "stale"}} {
		if got := list(append(args, "--format", "json")...); got != "" {
			t.Errorf("%s: %s", args, got)
		}
	}
}

// consume delivers what is on the bus to a receiver until the test is over.
func consume(t *testing.T, conn *bus.Conn, layout bus.Layout, url string) {
	t.Helper()
	cfg := accesslog.DefaultConfig()
	cfg.Flush = 20 * time.Millisecond
	var sink accesslog.SinkConfig
	if err := sink.UnmarshalText([]byte("http,kinds=all,format=json,url=" + url)); err != nil {
		t.Fatal(err)
	}
	cfg.Sinks = []accesslog.SinkConfig{sink}
	c, err := accesslog.New(cfg, accesslog.Deps{Conn: conn, Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// echo sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the test is over
			}()
		}
	}()
	return l.Addr().String()
}

func talk(t *testing.T, addr string, n int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(bytes.Repeat([]byte("x"), n)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) != n {
		t.Fatalf("%d bytes back, %v", len(b), err)
	}
}

func TestAccessCommandsSayWhatIsWrongInOneLine(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		args   string
		status int
		says   string
	}{
		{"access ls --db DIR/none.db", exitFailed, "no access database (name another with --db"},
		{"access ls --db DIR", exitFailed, "open database"},
		{"access ls --since yesterday", exitUsage, `since: "yesterday" is not a duration (24h), a day`},
		{"access ls --until -3h", exitUsage, `-3h`},
		{"access ls --since 2h --until 3h", exitUsage, "is not before until"},
		{"access ls --source 10.0.0.0/33", exitUsage, `"10.0.0.0/33" is not an address prefix`},
		{"access ls --limit=-1", exitUsage, "limit: -1 is negative"},
		{"access ls --resource x", exitUsage, "resource"},
		{"access ls --state gone", exitUsage, "must be one of"},
		{"access ls --active --state stale", exitUsage, "can't be used together"},
		{"access ls --stale-after 0s", exitUsage, "0s is not more than 0"},
		{"access ls --format xml", exitUsage, "must be one of"},
		{"access receive --listen 8480", exitUsage, `"8480" is not host:port`},
		{"access receive --listen 0.0.0.0:0", exitUsage, "anyone who reaches 0.0.0.0:0 could write"},
		{"access receive --max-conns 0x", exitUsage, "max-conns"},
		{"access receive --workers 1000", exitUsage, "workers: 1000 is not within"},
		{"access receive --db DIR/a.db --token-file DIR/none", exitFailed, "read token"},
		{"access receive --db DIR/a.db --listen TAKEN", exitFailed, "address already in use"},
		{"access receive --db DIR --listen 127.0.0.1:0", exitFailed, "is a directory"},
		{"access proxy", exitUsage, "listen: no address"},
		{"access proxy --listen x --to y --resource 1", exitUsage, `"x" is not host:port`},
		{"access proxy --listen 127.0.0.1:0 --to [::1]:1 --resource no", exitUsage, "resource"},
		{"access", exitUsage, "expected one of"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("DIR", dir, "TAKEN", taken.Addr().String()).Replace(test.args))
			status, stdout, stderr := runMain(t, args...)
			if status != test.status || !strings.Contains(stderr, test.says) || strings.Count(stderr, "\n") != 1 || stdout != "" {
				t.Errorf("status %d, want %d; said %q%q, want %q", status, test.status, stdout, stderr, test.says)
			}
		})
	}
}

func TestTheNewestAreListedAndThatThereAreMoreIsSaid(t *testing.T) {
	db := filepath.Join(t.TempDir(), "access.db")
	said := background(t, "receiving", "access", "receive", "--listen", "127.0.0.1:0", "--db", db)
	body := `[{"sessionId":"a","protocol":"tcp","startedAt":"2026-01-01T00:00:00Z","endedAt":"0001-01-01T00:00:00Z"},
		{"sessionId":"b","protocol":"udp","startedAt":"2026-01-02T00:00:00Z","endedAt":"2026-01-02T00:00:01Z","user":"\u001b]52;c;eA==\u0007"}]`
	resp, err := http.Post(strings.TrimSuffix(strings.Fields(said)[4], ","), "application/json", strings.NewReader(body))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	status, stdout, stderr := runMain(t, "access", "ls", "--db", db, "--limit", "1")
	if status != exitOK || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, "\nb ") || !strings.Contains(stderr, "these are the newest 1, there are more") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	if strings.ContainsAny(stdout, "\x1b\a") {
		t.Errorf("escape sequences are printed: %q", stdout)
	}
	if _, stdout, stderr = runMain(t, "access", "ls", "--db", db, "--limit", "2"); strings.Count(stdout, "\n") != 3 || stderr != "" {
		t.Errorf("%s%s", stdout, stderr)
	}
	if _, stdout, _ = runMain(t, "access", "ls", "--db", db, "--user", "nobody", "--format", "csv"); strings.Count(stdout, "\n") != 1 {
		t.Errorf("a CSV file of nothing has a header: %q", stdout)
	}
	if _, stdout, stderr = runMain(t, "access", "ls", "--db", db, "--user", "nobody"); stdout != "" || !strings.Contains(stderr, "no such access sessions") {
		t.Errorf("%q %q", stdout, stderr)
	}
}
