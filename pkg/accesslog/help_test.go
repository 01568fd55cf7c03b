package accesslog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the bus is away")

// A fakeBus stores messages as JetStream does, and fails the test if its caller
// breaks the contract of Publisher.
type fakeBus struct {
	t *testing.T

	mu       sync.Mutex
	fault    func(try int) (stored bool, err error) // nil: none
	hang     chan struct{}                          // if not nil, Publish waits for it, or its context
	tries    int
	under    map[int64]bool
	seen     map[string][]byte // every message ever tried, by writer and number
	stored   map[string]bool
	messages []accesslog.Message
}

func newFakeBus(t *testing.T) *fakeBus {
	return &fakeBus{t: t, under: map[int64]bool{}, seen: map[string][]byte{}, stored: map[string]bool{}}
}

func (b *fakeBus) Publish(ctx context.Context, m accesslog.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.under[m.Resource] {
		b.t.Errorf("two messages of resource %d at a time", m.Resource)
	}
	if len(m.Body) > accesslog.MaxMessage {
		b.t.Errorf("message of %d bytes", len(m.Body))
	}
	id := fmt.Sprint(m.Writer, "-", m.Number)
	if was, ok := b.seen[id]; ok && !bytes.Equal(was, m.Body) {
		b.t.Errorf("message %s has other bytes when it comes again", id)
	}
	b.seen[id] = m.Body
	b.under[m.Resource] = true
	defer func() { b.under[m.Resource] = false }()
	b.tries++
	stored, err := true, error(nil)
	if b.fault != nil {
		stored, err = b.fault(b.tries)
	}
	if hang := b.hang; hang != nil {
		b.mu.Unlock()
		select {
		case <-hang:
		case <-ctx.Done():
			stored, err = false, ctx.Err()
		}
		b.mu.Lock()
	}
	if stored && !b.stored[id] {
		b.stored[id] = true
		b.messages = append(b.messages, m)
	}
	return err
}

func (b *fakeBus) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// away makes every try fail.
func (b *fakeBus) away(yes bool) {
	b.set(func() {
		b.fault = nil
		if yes {
			b.fault = func(int) (bool, error) { return false, errAway }
		}
	})
}

// records are all that the bus has, in order.
func (b *fakeBus) records() []accesslog.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []accesslog.Record
	for _, m := range b.messages {
		recs, err := accesslog.ParseRecords(m.Body)
		if err != nil {
			b.t.Errorf("message %d: %v", m.Number, err)
		}
		all = append(all, recs...)
	}
	return all
}

// ends are the records of sessions that ended, by id. It fails the test if a
// session's records are not in order, or contradict each other.
func ends(t *testing.T, recs []accesslog.Record) map[string]accesslog.Record {
	t.Helper()
	newest := map[string]accesslog.Record{}
	for _, r := range recs {
		was, ok := newest[r.SessionID]
		switch {
		case ok && was.Kind == accesslog.KindEnd && was != r:
			t.Errorf("session %s: %+v after its end %+v", r.SessionID, r, was)
		case ok && r.Seq < was.Seq, ok && r.Seq == was.Seq && r != was:
			t.Errorf("session %s: record %d after %d", r.SessionID, r.Seq, was.Seq)
		case ok && (r.BytesTx < was.BytesTx || r.BytesRx < was.BytesRx || !r.StartedAt.Equal(was.StartedAt)):
			t.Errorf("session %s: %+v after %+v", r.SessionID, r, was)
		}
		newest[r.SessionID] = r
	}
	maps.DeleteFunc(newest, func(_ string, r accesslog.Record) bool { return r.Kind != accesslog.KindEnd })
	return newest
}

// run runs a tracker until stop is called, or the test ends.
func run(t *testing.T, cfg accesslog.Config, pub accesslog.Publisher) (tr *accesslog.Tracker, stop func() error) {
	t.Helper()
	cfg.Node = "node-1"
	tr, err := accesslog.New(cfg, pub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return tr, stop
}

func mustStop(t *testing.T, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// flow is the i-th of many sources of resource 7.
func flow(i int) accesslog.Flow {
	return accesslog.Flow{
		Resource: 7, Dest: "10.0.0.1:443",
		Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}), uint16(1024+i)),
	}
}

// A fakeSocket is a packet socket without a network, for bubbles.
type fakeSocket struct {
	net.PacketConn
	in chan string // sources that send a packet of 10 bytes
}

func newFakeSocket() *fakeSocket { return &fakeSocket{in: make(chan string)} }

func (s *fakeSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	from, ok := <-s.in
	if !ok {
		return 0, nil, net.ErrClosed
	}
	return copy(p, "0123456789"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), nil
}

func (s *fakeSocket) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), nil }
func (s *fakeSocket) Close() error                              { return nil }

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

func (b *buffered) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSuffix(b.b.String(), "\n"), "\n")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// A fakeConn is a connection that does nothing.
type fakeConn struct{ net.Conn }

func (fakeConn) Close() error { return nil }
