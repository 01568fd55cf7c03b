package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// TestMain is the producer when it is called by that name, so that tests run
// the real program, in processes of its own, without building it twice.
func TestMain(m *testing.M) {
	if strings.TrimPrefix(filepath.Base(os.Args[0]), "-") == "producer" {
		os.Exit(run(os.Args))
	}
	// Under nohup hang-ups are ignored, and so they would be by all that the tests
	// start; one that is handled is not passed on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// A site is a bus of its own and a producer to run on it.
type site struct {
	producer string // path
	dir      string
	url      string
	srv      *embed.NATS // nil if the test keeps it
	conn     *bus.Conn
	layout   bus.Layout
	env      []string // of the producer
}

func newSite(t testing.TB) *site {
	t.Helper()
	srv := embedtest.NATSServer(t, embed.NATSConfig{})
	s := siteAt(t, srv.URL())
	s.srv = srv
	return s
}

func siteAt(t testing.TB, url string) *site {
	t.Helper()
	s := &site{url: url, dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.producer = filepath.Join(s.dir, "producer")
	if err := os.Symlink(self, s.producer); err != nil {
		t.Fatal(err)
	}
	if s.conn, err = bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	s.layout, err = bus.Ensure(t.Context(), s.conn, bus.Layout{
		Partitions: 1, EventsMaxBytes: 256 << 20, UploadsMaxBytes: 16 << 20,
		AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "TAPEDECK_NATS_URL="+url, "TAPEDECK_NODE=host", "SHELL=/bin/bash", "USER=joe", "LOGNAME=root", "HOME="+s.dir)
	return s
}

// command is a call of the producer.
func (s *site) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	cmd := exec.CommandContext(ctx, s.producer, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// status is what a command ended with, as a shell has it.
func status(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState == nil {
		return fmt.Sprintf("not run: %v", err)
	}
	return cmd.ProcessState.String()
}

// A tape is a session as the bus has it.
type tape struct {
	sid    string
	events []events.Event
	types  string
	text   []byte
	ended  bool
}

// tapes are all sessions on the bus, in order of their beginning.
func (s *site) tapes(t testing.TB) []*tape {
	t.Helper()
	info, err := s.conn.JetStream().Stream(t.Context(), bus.EventStream(0))
	if err != nil {
		t.Fatal(err)
	}
	var tapes []*tape
	state, err := info.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seq := uint64(1); seq <= state.State.LastSeq; seq++ {
		msg, err := info.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		_, _, sid, err := bus.ParseEventSubject(msg.Subject)
		if err != nil {
			t.Fatal(err)
		}
		if !seen[sid] {
			seen[sid] = true
			tapes = append(tapes, s.tape(t, sid))
		}
	}
	return tapes
}

func (s *site) tape(t testing.TB, sid string) *tape {
	t.Helper()
	tp := &tape{sid: sid}
	var types []string
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, sid, bus.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		tp.ended = m.Control == bus.ControlEnd
		for oneof, err := range m.Records() {
			if err != nil {
				t.Fatal(err)
			}
			one, err := events.Unmarshal(oneof)
			if err != nil {
				t.Fatal(err)
			}
			e, err := events.Unwrap(one)
			if err != nil {
				t.Fatal(err)
			}
			if md := e.GetMetadata(); md.Index != int64(len(tp.events)) {
				t.Fatalf("event %d has index %d", len(tp.events), md.Index)
			}
			if p, ok := e.(*events.SessionPrint); ok {
				tp.text = append(tp.text, p.Data...)
			}
			tp.events = append(tp.events, e)
			if typ := e.GetMetadata().Type; typ != "print" || len(types) == 0 || types[len(types)-1] != "print" {
				types = append(types, typ)
			}
		}
	}
	tp.types = strings.Join(types, " ")
	return tp
}

// only is the one session on the bus, which must be over.
func (s *site) only(t testing.TB) *tape {
	t.Helper()
	tapes := s.tapes(t)
	if len(tapes) != 1 || !tapes[0].ended {
		t.Fatalf("%d sessions on the bus, want one that is over", len(tapes))
	}
	return tapes[0]
}

// A person sits at a terminal with the producer on it.
type person struct {
	t      testing.TB
	cmd    *exec.Cmd
	outer  *os.File // the person's side of the terminal
	inner  *os.File // the producer's side
	mu     sync.Mutex
	seen   []byte
	closed chan struct{}
}

// sit starts a call of the producer on a terminal.
func sit(t testing.TB, cmd *exec.Cmd, cols, rows uint16) *person {
	t.Helper()
	blocking, inner, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, cmd: cmd, outer: blocking, inner: inner, closed: make(chan struct{})}
	p.resize(cols, rows)
	p.outer = interruptible(t, blocking)
	t.Cleanup(func() { _, _ = p.outer.Close(), inner.Close() })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inner, inner, inner
	cmd.SysProcAttr = controlling()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.closed)
		buf := make([]byte, 32<<10)
		for {
			n, err := p.outer.Read(buf)
			p.mu.Lock()
			p.seen = append(p.seen, buf[:n]...)
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *person) resize(cols, rows uint16) {
	p.t.Helper()
	if err := pty.Setsize(p.inner, &pty.Winsize{Cols: cols, Rows: rows}); err != nil {
		p.t.Fatal(err)
	}
}

// interruptible makes of f a file whose reads end when it is closed.
func interruptible(t testing.TB, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.outer.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.seen)
}

// sees waits for text on the terminal.
func (p *person) sees(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(p.screen(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %q on the terminal, but %q", text, p.screen())
		}
	}
}

// leaves waits for the producer to end and for all that it showed.
func (p *person) leaves() string {
	p.t.Helper()
	err := p.cmd.Wait()
	_ = p.inner.Close() // the last one: the person's side reads to its end
	<-p.closed
	return status(p.cmd, err)
}

// refusing is an address where nothing listens.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().String()
}
