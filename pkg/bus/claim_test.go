package bus_test

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// mustBeIdle: nothing is in flight, and nothing counts as if it were.
func mustBeIdle(t *testing.T, p *bus.Publisher) {
	t.Helper()
	if bytes, singles, ready := p.InFlight(0); bytes != 0 || singles != 0 || ready != 0 {
		t.Errorf("%d bytes and %d messages are in flight, %d wait; all is acknowledged", bytes, singles, ready)
	}
}

// A message that waits for an answer about its session has its bytes in flight once,
// however often the answer does not come.
func TestBytesOfAMessageThatIsPutOffCountOnce(t *testing.T) {
	const silence, refusals = 50 * time.Millisecond, 3
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{MaxSilence: silence})
	st := open(t, p, "node", "s")
	appendEvents(t, st, 0, 3)
	flush(t, st)
	if err := s.conn.JetStream().DeleteStream(t.Context(), bus.StreamUploads); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	_, err := s.conn.NATS().Subscribe("$JS.API.DIRECT.GET."+bus.StreamUploads+".>", func(m *nats.Msg) {
		status := "404"
		if asked.Add(1) <= refusals {
			status = "500"
		}
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {status}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * silence) // the session says nothing for so long
	appendEvents(t, st, 3, 4)
	flush(t, st)
	if n := asked.Load(); n <= refusals {
		t.Fatalf("the upload log was asked %d times", n)
	}
	mustBeIdle(t, p)
	s.mustHold(t, "s", 0, 4)
}

// Messages that come to their turn without a connection are counted once when they are
// sent on the next one.
func TestMessagesThatWaitForAConnectionCountOnce(t *testing.T) {
	const singles, ready = 8, 5 // in flight by themselves, and too few for a batch
	s := newSite(t, small(1))
	px := newProxy(t, s.srv.URL())
	conn := connect(t, px.url())
	p := s.publisher(t, conn, bus.PublisherOptions{AckTimeout: 2 * time.Second})
	c := s.crowd(t, p, singles+ready)
	px.set(func() { px.loseSent = true })
	c.say(t, 1)
	if _, n, m := p.InFlight(0); n != singles || m != ready {
		t.Fatalf("%d messages are in flight and %d wait, want %d and %d", n, m, singles, ready)
	}
	px.set(func() { px.down = true })
	px.cut()
	eventually(t, "the connection is lost", func() bool { return !conn.NATS().IsConnected() })
	eventually(t, "those that waited have come to their turn", func() bool {
		_, n, m := p.InFlight(0)
		return n == ready && m == 0
	})
	px.set(func() { px.down, px.loseSent = false, false })
	c.mustHoldAll(t)
	mustBeIdle(t, p)
}

// What stands before a server that is away, such as a load balancer, takes a connection
// and ends it. The bus is away then, and no setting is wrong.
func TestAConnectionThatIsEndedAtOnceMeansThatTheBusIsAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	_, err = bus.Connect(t.Context(), bus.Options{URL: []string{"nats://" + ln.Addr().String()}}, nil)
	if !errors.Is(err, io.EOF) || !bus.Away(err) {
		t.Errorf("connect: %v; away: %t", err, bus.Away(err))
	}
}

// More messages come to their turn without a connection than may be in flight by
// themselves: none of them takes a place that it does not use.
func TestManyMessagesThatWaitForAConnectionAreSent(t *testing.T) {
	const ackTimeout = 2 * time.Second
	for _, gather := range []bool{false, true} {
		s := newSite(t, small(1))
		px := newProxy(t, s.srv.URL())
		conn := connect(t, px.url())
		p := s.publisher(t, conn, bus.PublisherOptions{AckTimeout: ackTimeout})
		if gather {
			p.Gather(0)
		}
		c := s.crowd(t, p, 60)
		px.set(func() { px.loseSent = true })
		c.say(t, 2)
		px.set(func() { px.down = true })
		px.cut()
		eventually(t, "the connection is lost", func() bool { return !conn.NATS().IsConnected() })
		time.Sleep(ackTimeout + ackTimeout/4) // what was in flight has given its place to what waited
		px.set(func() { px.down, px.loseSent = false, false })
		c.mustHoldAll(t)
		mustBeIdle(t, p)
	}
}
