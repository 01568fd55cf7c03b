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

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/tapedeck-io/tapedeck/internal/accessproxy"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// What a visit should be in the log.
type visit struct {
	protocol string
	tx, rx   int64
	from, to time.Time
}

func TestEveryVisitIsOneSessionWithItsBytes(t *testing.T) {
	const connections, flows = 2000, 500
	url, c := newBus(t)
	tg := newTarget(t, 2)
	addrs, stop := start(t, accessproxy.Command{
		Listen: []string{"127.0.0.1:0", "[::1]:0"}, To: tg.addr, Resource: 42, Node: "gate", User: "alice", Idle: time.Second, Quiet: true,
	}, accessproxy.Deps{Connect: connectTo(url)})

	sockets := make([]net.Conn, flows) // open all the while, so that no port comes twice
	for i := range sockets {
		var err error
		if sockets[i], err = net.Dial("udp", addrs[2+i%2].String()); err != nil {
			t.Fatal(err)
		}
		defer sockets[i].Close()
	}
	var mu sync.Mutex
	want := map[string]visit{} // by source
	begin := time.Now()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range connections + flows {
		g.Go(func() (err error) {
			var source string
			n := 1 + i*37%5000
			v := visit{protocol: accesslog.TCP, tx: int64(n), rx: int64(2 * n), from: time.Now()}
			if i < connections {
				source, err = visitTCP(addrs[i%2].String(), n, 2*n)
			} else {
				n, packets := 1+i%1200, 1+i%3
				v.protocol, v.tx, v.rx = accesslog.UDP, int64(n*packets), int64(2*n*packets)
				source, err = converse(sockets[i-connections], packets, n, 2)
			}
			v.to = time.Now()
			mu.Lock()
			want[v.protocol+source] = v
			mu.Unlock()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections and %d flows in %s", connections, flows, time.Since(begin))
	idle := time.Now()
	eventually(t, "all sessions have ended", func() bool {
		n := 0
		for _, r := range sessions(t, readAll(t, c)) {
			if r.Ended() {
				n++
			}
		}
		return n >= connections+flows
	})
	t.Logf("all ended %s after", time.Since(idle))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	recs := readAll(t, c)
	got := sessions(t, recs)
	if len(got) != connections+flows || len(recs) != 2*len(got) {
		t.Errorf("%d sessions in %d records", len(got), len(recs))
	}
	checkVisits(t, got, want, tg.addr)
}

func checkVisits(t *testing.T, got map[string]accesslog.Record, want map[string]visit, to string) {
	t.Helper()
	wrong := 0
	for _, r := range got {
		v, ok := want[r.Protocol+r.SourceAddr]
		reason := accesslog.ReasonClosed
		if r.Protocol == accesslog.UDP {
			reason = accesslog.ReasonIdle
		}
		// The proxy sees a close a moment after the client has done it.
		good := ok && r.BytesTx == v.tx && r.BytesRx == v.rx && r.ResourceID == 42 && r.DestAddr == to && r.User == "alice" && r.Node == "gate" &&
			r.Reason == reason && r.Kind == accesslog.KindEnd && r.Seq == 1 && r.Connections() == 1 &&
			!r.StartedAt.Before(v.from) && !r.EndedAt.Before(r.StartedAt) && r.EndedAt.Before(v.to.Add(2*time.Second))
		if !good {
			if wrong++; wrong < 5 {
				t.Errorf("%+v, want %+v", r, v)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d sessions are wrong", wrong, len(got))
	}
}

func TestStopEndsOpenConnectionsWithShutdown(t *testing.T) {
	url, c := newBus(t)
	tg := newTarget(t, 1)
	addrs, stop := start(t, accessproxy.Command{Listen: []string{"127.0.0.1:0"}, To: tg.addr, Resource: 1, Quiet: true},
		accessproxy.Deps{Connect: connectTo(url)})
	conn, err := net.Dial("tcp", addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := visitUDP(addrs[1].String(), 1, 100, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are seen", func() bool { return len(sessions(t, readAll(t, c))) == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection is open: %d, %v", n, err)
	}
	for _, r := range sessions(t, readAll(t, c)) {
		if want := map[string]int64{accesslog.TCP: 1000, accesslog.UDP: 100}[r.Protocol]; r.Reason != accesslog.ReasonShutdown || r.BytesTx != want {
			t.Errorf("%+v", r)
		}
	}
}

func TestProxyForwardsBeforeThereIsABus(t *testing.T) {
	url, c := newBus(t)
	tg := newTarget(t, 1)
	var mu sync.Mutex
	up := false
	lines := &buffered{}
	addrs, stop := start(t, accessproxy.Command{Listen: []string{"127.0.0.1:0"}, To: tg.addr, Resource: 1}, accessproxy.Deps{
		Stdout: lines,
		Connect: func(ctx context.Context) (*bus.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if !up {
				return nil, errors.New("nobody there")
			}
			return connectTo(url)(ctx)
		},
	})
	for range 20 {
		if _, err := visitTCP(addrs[0].String(), 100, 100); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	up = true
	mu.Unlock()
	eventually(t, "the records arrive", func() bool {
		n := 0
		for _, r := range sessions(t, readAll(t, c)) {
			if r.Ended() && r.BytesTx == 100 && r.BytesRx == 100 {
				n++
			}
		}
		return n == 20
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if s := lines.String(); strings.Count(s, "ACCESS START ") != 20 || strings.Count(s, "ACCESS END ") != 20 {
		t.Errorf("%s", s)
	}
}

func TestTargetThatIsNotThereIsASessionOfNoBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	url, c := newBus(t)
	addrs, stop := start(t, accessproxy.Command{Listen: []string{"127.0.0.1:0"}, To: nobody, Resource: 1, Protocol: []string{"tcp"}, Quiet: true},
		accessproxy.Deps{Connect: connectTo(url)})
	conn, err := net.Dial("tcp", addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(conn); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
	_ = conn.Close()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := sessions(t, readAll(t, c))
	for _, r := range got {
		if r.BytesTx != 0 || r.BytesRx != 0 || r.Reason != accesslog.ReasonClosed {
			t.Errorf("%+v", r)
		}
	}
	if len(got) != 1 || len(addrs) != 1 {
		t.Errorf("%d sessions over %d sockets", len(got), len(addrs))
	}
}

func TestFlowsAreLimited(t *testing.T) {
	url, _ := newBus(t)
	tg := newTarget(t, 1)
	addrs, _ := start(t, accessproxy.Command{
		Listen: []string{"[::1]:0"}, To: tg.addr, Resource: 1, Protocol: []string{"udp"}, MaxFlows: 5, Idle: 300 * time.Millisecond, Quiet: true,
	}, accessproxy.Deps{Connect: connectTo(url)})
	for range 5 {
		if _, err := visitUDP(addrs[0].String(), 1, 10, 1); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("udp", addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := false
	eventually(t, "there is room again, once others are idle", func() bool {
		_, _ = c.Write([]byte("hello"))
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, _ := c.Read(make([]byte, 10))
		got = n == 5
		return got
	})
}

func TestCommandLineSaysAllThatIsWrong(t *testing.T) {
	var c accessproxy.Command
	parser, err := kong.New(&c, kong.Name("proxy"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--listen", "127.0.0.1:5000,[::1]:0", "--to", "db:5432", "--resource", "7", "--merge", "5s"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil || len(c.Listen) != 2 || len(c.Protocol) != 2 || c.Merge != 5*time.Second || c.Idle != 2*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	c = accessproxy.Command{Listen: []string{"5000"}, To: "::1:5", Node: "a b", Protocol: []string{"icmp"}, MaxFlows: -1}
	err = c.Run(t.Context(), accessproxy.Deps{})
	for _, want := range []string{"listen:", "to:", "node:", "protocol:", "max flows:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}
