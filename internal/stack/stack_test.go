package stack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

const childDir = "TAPEDECK_STACK_TEST_DIR"

// The test binary is also the process that tests kill: it runs a stack on the
// directory that the environment names, and says when it is ready.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	err := stack.Run(ctx, stack.Config{Dir: dir, Log: log}, func(stack.Info) { fmt.Println("ready") })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startChild runs a stack in another process and returns when it is ready.
func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v; want ready", line, err)
	}
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a stack in this process until stop is called, which returns what
// Run returned.
func start(t *testing.T, cfg stack.Config) (stack.Info, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan stack.Info, 1), make(chan error, 1)
	go func() { ended <- stack.Run(ctx, cfg, func(i stack.Info) { ready <- i }) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	select {
	case i := <-ready:
		return i, stop
	case err := <-ended:
		t.Fatal(err)
		panic("unreachable")
	}
}

// session opens a session on what runs in dir, as another process would.
func session(t *testing.T, dir string) *recorder.Session {
	t.Helper()
	c, err := stack.ReadConnect(dir)
	must(t, err)
	conn, err := bus.Connect(t.Context(), c.Bus(), nil)
	must(t, err)
	t.Cleanup(conn.Close)
	layout, err := bus.Inspect(t.Context(), conn)
	must(t, err)
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "n"})
	must(t, err)
	s, err := rec.Start(t.Context(), recorder.Spec{User: "u", Width: 80, Height: 24})
	must(t, err)
	return s
}

// wantRecording waits for the finished recording and counts its events.
func wantRecording(t *testing.T, dir, sid string, events int64) {
	t.Helper()
	c, err := stack.ReadConnect(dir)
	must(t, err)
	store, err := s3store.Open(t.Context(), c.Store(), nil)
	must(t, err)
	defer store.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := store.Head(ctx, store.Key(sid+".manifest.json"))
		if err == nil {
			break
		}
		if !errors.Is(err, s3store.ErrNotFound) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	body, err := store.Get(ctx, store.Key(sid+".tar"))
	must(t, err)
	defer body.Close()
	r := slicefmt.NewReader(body)
	for {
		if _, err = r.Next(); err != nil {
			break
		}
	}
	if n := r.Counts(); n.Records != events || n.Gaps != 0 || n.Duplicates != 0 {
		t.Errorf("recording has %+v, then %v; want %d events", n, err, events)
	}
}

func TestStackRecordsStopsAndComesBackTheSame(t *testing.T) {
	dir := t.TempDir()
	first, stop := start(t, stack.Config{Dir: dir})
	for _, f := range []string{"connect.json", "installation.json", "lock"} {
		if fi, err := os.Stat(filepath.Join(dir, f)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", f, fi, err)
		}
	}
	err := stack.Run(t.Context(), stack.Config{Dir: dir}, nil)
	if want := fmt.Sprintf("process %d holds %s since ", os.Getpid(), filepath.Join(dir, "lock")); !errors.Is(err, stack.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("a second one: %v; want %q in it", err, want)
	}
	s := session(t, dir)
	_, err = s.Write([]byte("hello"))
	must(t, err)
	must(t, s.End(t.Context()))
	wantRecording(t, dir, s.ID(), 3)

	must(t, stop())
	if left, _ := filepath.Glob(filepath.Join(dir, "*connect.json*")); len(left) != 0 {
		t.Errorf("%q are left behind", left)
	}
	if _, err := stack.ReadConnect(dir); !errors.Is(err, stack.ErrNotRunning) {
		t.Errorf("connect after the stop: %v", err)
	}
	again, _ := start(t, stack.Config{Dir: dir})
	if again.NATS.String() != first.NATS.String() || again.NATS.Password != first.NATS.Password || again.S3 != first.S3 {
		t.Errorf("came back as %v, %v; was %v, %v", again.NATS, again.S3, first.NATS, first.S3)
	}
	wantRecording(t, dir, s.ID(), 3)
}

func TestKilledStackComesBackAndItsProducersGoOn(t *testing.T) {
	dir := t.TempDir()
	child := startChild(t, dir)
	s := session(t, dir)
	const writes = 200
	for i := range writes {
		if i == writes/2 {
			must(t, child.Process.Kill())
			_ = child.Wait()
			if _, err := stack.ReadConnect(dir); !errors.Is(err, stack.ErrNotRunning) || !strings.Contains(err.Error(), "it was killed") {
				t.Errorf("connect after the kill: %v", err)
			}
			child = startChild(t, dir)
		}
		_, err := fmt.Fprintf(s, "line %d\r\n", i)
		must(t, err)
	}
	must(t, s.End(t.Context()))
	wantRecording(t, dir, s.ID(), writes+2)
	must(t, child.Process.Signal(unix.SIGTERM))
	must(t, child.Wait())
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	broken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(broken, "installation.json"), []byte("{"), 0o600))
	newer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(newer, "installation.json"), []byte(`{"v":2}`), 0o600))
	tests := []struct {
		name string
		cfg  stack.Config
		says string
	}{
		{"port of the bus is taken", stack.Config{NATSPort: taken}, fmt.Sprintf("port %d is taken by process %d (", taken, os.Getpid())},
		{"port of the store is taken", stack.Config{S3Port: taken}, "choose another with --s3-port"},
		{"directory is a file", stack.Config{Dir: file}, "choose one that you can write to"},
		{"installation is broken", stack.Config{Dir: broken}, "restore it, or move it away"},
		{"installation is newer", stack.Config{Dir: newer}, "use a newer program"},
		{"no directory", stack.Config{NATSPort: -1, S3Port: 70000, Dir: ""}, "data directory: none given\nnats port -1: not 0 to 65535\ns3 port 70000: not 0 to 65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cfg.Dir == "" && tt.cfg.S3Port != 70000 {
				tt.cfg.Dir = t.TempDir()
			}
			err := stack.Run(t.Context(), tt.cfg, func(stack.Info) { t.Error("it is ready") })
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v; want %q in it", err, tt.says)
			}
		})
	}
}

func TestRememberedPortIsNotGivenUpInSilence(t *testing.T) {
	dir := t.TempDir()
	info, stop := start(t, stack.Config{Dir: dir})
	must(t, stop())
	_, port, _ := strings.Cut(strings.TrimPrefix(info.NATS.URL[0], "nats://"), ":")
	ln, err := net.Listen("tcp", "127.0.0.1:"+port)
	must(t, err)
	defer ln.Close()
	err = stack.Run(t.Context(), stack.Config{Dir: dir}, nil)
	if err == nil || !strings.Contains(err.Error(), "the one of last time, which running producers know") {
		t.Errorf("error is %v", err)
	}
}

func TestContextThatIsDoneBeforeItIsUpIsAStopOrAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	_ = stack.Run(ctx, stack.Config{Dir: dir}, nil)
	_, stop := start(t, stack.Config{Dir: dir})
	must(t, stop())
}
