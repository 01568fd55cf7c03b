package top_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/top"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

func up(t *testing.T) stack.Info {
	t.Helper()
	dir := t.TempDir() // it must go after the stack has
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan stack.Info, 1), make(chan error, 1)
	go func() {
		ended <- stack.Run(ctx, stack.Config{Dir: dir, MetricsAddr: "127.0.0.1:0", NoSync: true, Layout: bus.Layout{Partitions: 2}}, func(i stack.Info) { ready <- i })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	select {
	case i := <-ready:
		return i
	case err := <-ended:
		ended <- nil
		t.Fatalf("stack: %v", err)
	}
	return stack.Info{}
}

func dial(t *testing.T, i stack.Info) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), i.NATS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestASnapshotShowsTheInstallation(t *testing.T) {
	info := up(t)
	conn := dial(t, info)
	rec, err := recorder.New(conn, info.Layout, recorder.Options{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	s, err := rec.Start(t.Context(), recorder.Spec{User: "joe"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.End(context.Background()) }()
	c := &top.Collector{Conn: conn, Layout: info.Layout, Scrape: []string{info.Metrics, "127.0.0.1:1"}}
	var shot *top.Snapshot
	good := func() bool {
		p := shot.Partitions[bus.Partition(s.ID(), 2)]
		return len(shot.Partitions) == 2 && shot.Partitions[0].Owner != "" && shot.Partitions[1].Owner != "" && p.Last == 1 && p.Unarchived == 1 &&
			p.In >= 0 && p.Age > 0 && shot.Totals.Sessions == 1 && shot.Totals.Held > 0 && shot.Totals.Members == 1 &&
			len(shot.Streams) == 6 && shot.Services[0].Name == "tapedeck" && shot.Services[0].Ready && shot.Services[1].Error != ""
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if shot, err = c.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if good() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("snapshot: %+v", shot)
		}
	}
	text := strings.Join(shot.Lines(), "\n")
	for _, want := range []string{"open sessions 1 ", "EVENTS-1", "UPLOADS", "! 127.0.0.1:1: ", shot.Partitions[0].Owner, "does not answer"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, s.ID()) || strings.Contains(text, "\x1b") {
		t.Errorf("a session's id or an escape sequence is in\n%s", text)
	}
}

func TestAFrameFitsTheScreen(t *testing.T) {
	lines := []string{"tapedeck top", strings.Repeat("wide ", 50), "! a problem", "one", "two"}
	for _, size := range [][2]int{{80, 24}, {20, 3}, {1, 1}, {0, 0}} {
		rows := strings.Split(top.Frame(lines, size[0], size[1]), "\r\n")
		if len(rows) > max(size[1], 1) {
			t.Errorf("%v: %d rows", size, len(rows))
		}
		for _, row := range rows {
			if n := len([]rune(stripped(row))); n > max(size[0], 1) {
				t.Errorf("%v: a row of %d: %q", size, n, row)
			}
		}
	}
}

// stripped is s without its escape sequences, which all end with a letter.
func stripped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			for i++; i < len(s) && (s[i] < 'A' || s[i] > 'Z') && (s[i] < 'a' || s[i] > 'z'); i++ {
			}
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const childURL = "TAPEDECK_TOP_TEST_URL"

// TestMain is also the program that a test runs on a terminal.
func TestMain(m *testing.M) {
	url := os.Getenv(childURL)
	if url == "" {
		os.Exit(m.Run())
	}
	if err := live(url); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}

func live(url string) error {
	conn, err := bus.Connect(context.Background(), bus.Options{URL: []string{url}, User: os.Getenv("TOP_USER"), Password: bus.Secret(os.Getenv("TOP_PASSWORD"))}, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	l, err := bus.Inspect(context.Background(), conn)
	if err != nil {
		return err
	}
	return top.Live(context.Background(), &top.Collector{Conn: conn, Layout: l}, os.Stdin, os.Stdout, 200*time.Millisecond)
}

// On a terminal it draws, draws anew when the terminal changes its size, and ends
// with q, leaving the screen as it was.
func TestItIsLiveOnATerminal(t *testing.T) {
	info := up(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+info.NATS.URL[0], "TOP_USER="+info.NATS.User, "TOP_PASSWORD="+string(info.NATS.Password))
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	got := make(chan string, 1024)
	go func() {
		defer close(got)
		for buf := make([]byte, 64<<10); ; {
			n, err := tty.Read(buf)
			if err != nil {
				return
			}
			got <- string(buf[:n])
		}
	}()
	until := func(what string) {
		t.Helper()
		var seen strings.Builder
		for timeout := time.After(time.Minute); !strings.Contains(seen.String(), what); {
			select {
			case s, ok := <-got:
				if !ok {
					t.Fatalf("ended before %q; it drew %q", what, seen.String())
				}
				seen.WriteString(s)
			case <-timeout:
				t.Fatalf("no %q in %q", what, seen.String())
			}
		}
	}
	until("UPLOADS")
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 5, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	until("lines more")
	if _, err := tty.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	until("\x1b[?1049l")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
