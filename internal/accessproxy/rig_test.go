package accessproxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapedeck-io/tapedeck/internal/accessproxy"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// newBus is an installation of the test's own.
func newBus(t *testing.T) (url string, c *bus.Conn) {
	t.Helper()
	url = embedtest.NATS(t)
	c, err := connectTo(url)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := bus.Ensure(t.Context(), c, bus.Layout{EventsMaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return url, c
}

func connectTo(url string) func(context.Context) (*bus.Conn, error) {
	return func(ctx context.Context) (*bus.Conn, error) {
		return bus.Connect(ctx, bus.Options{URL: []string{url}}, nil)
	}
}

// readAll is all that ACCESS has.
func readAll(t *testing.T, c *bus.Conn) (recs []accesslog.Record) {
	t.Helper()
	s, err := c.JetStream().Stream(t.Context(), bus.StreamAccess)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		got, err := accesslog.ParseRecords(m.Data)
		if err != nil {
			t.Errorf("message %d: %v", seq, err)
		}
		recs = append(recs, got...)
	}
	return recs
}

// sessions are the newest records, by id. It fails the test if a session has two
// different ends, or two different records of one number.
func sessions(t *testing.T, recs []accesslog.Record) map[string]accesslog.Record {
	t.Helper()
	type number struct {
		id  string
		seq int64
	}
	seen := map[number]accesslog.Record{}
	newest := map[string]accesslog.Record{}
	for _, r := range recs {
		if was, ok := seen[number{r.SessionID, r.Seq}]; ok && was != r {
			t.Errorf("two records of one number: %+v and %+v", was, r)
		}
		seen[number{r.SessionID, r.Seq}] = r
		was, ok := newest[r.SessionID]
		if ok && was.Ended() && r.Ended() && was != r {
			t.Errorf("two ends: %+v and %+v", was, r)
		}
		if !ok || r.Newer(&was) {
			newest[r.SessionID] = r
		}
	}
	return newest
}

// start runs a proxy until stop is called, or the test ends.
func start(t *testing.T, c accessproxy.Command, d accessproxy.Deps) (addrs []net.Addr, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan []net.Addr, 1)
	d.Ready = func(a []net.Addr) { ready <- a }
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, d) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	select {
	case addrs = <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	return addrs, stop
}

// A target answers: TCP is read to its end, and then answered with times its
// bytes; a packet is answered with times packets.
type target struct {
	addr string
	wg   sync.WaitGroup
}

func newTarget(t *testing.T, times int) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tg := &target{addr: l.Addr().String()}
	tg.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tg.wg.Go(func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				for range times {
					_, _ = c.Write(all)
				}
			})
		}
	})
	tg.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			for range times {
				_, _ = pc.WriteTo(buf[:n], from)
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		_ = pc.Close()
		tg.wg.Wait()
	})
	return tg
}

// visitTCP sends n bytes, reads what comes, and returns its own address.
func visitTCP(addr string, n, back int) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(make([]byte, n)); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	if err == nil && len(all) != back {
		err = io.ErrUnexpectedEOF
	}
	return c.LocalAddr().String(), err
}

// visitUDP sends packets of n bytes, each after all answers to the one before.
func visitUDP(addr string, packets, n, answers int) (string, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return converse(c, packets, n, answers)
}

func converse(c net.Conn, packets, n, answers int) (string, error) {
	buf := make([]byte, 64<<10)
	for range packets {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(make([]byte, n)); err != nil {
			return "", err
		}
		for range answers {
			if _, err := c.Read(buf); err != nil {
				return "", err
			}
		}
	}
	return c.LocalAddr().String(), nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// buffered collects what is written, from any goroutine.
type buffered struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffered) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
