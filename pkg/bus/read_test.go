package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestFollowSeesEventsAsTheyCome(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	st := open(t, p, "node", "sid")
	appendEvents(t, st, 0, 10)
	flush(t, st)
	reader := connect(t, s.srv.URL())
	seen := make(chan int64, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for m, err := range bus.Read(t.Context(), reader, s.layout, "sid", bus.ReadOptions{Follow: true, StopAtEnd: true}) {
			if err != nil {
				t.Error(err)
				return
			}
			for _, i := range indexesOf(t, m) {
				seen <- i
			}
		}
		close(seen)
	})
	var got []int64
	for len(got) < 10 {
		got = append(got, <-seen)
	}
	for i := int64(10); i < 15; i++ {
		start := time.Now()
		appendEvents(t, st, i, i+1)
		got = append(got, <-seen)
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("event %d was seen after %s", i, d)
		}
	}
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for i := range seen {
		got = append(got, i)
	}
	mustRun(t, got, 0, 15)
}

func TestFollowGoesOnAfterTheServerRestarted(t *testing.T) {
	s, cfg := restartable(t)
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	st := open(t, p, "node", "sid")
	appendEvents(t, st, 0, 100)
	flush(t, st)
	seen := make(chan int64, 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(seen)
		for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{Follow: true, StopAtEnd: true}) {
			if err != nil {
				t.Error(err)
				return
			}
			for _, i := range indexesOf(t, m) {
				seen <- i
			}
		}
	})
	var got []int64
	for len(got) < 100 {
		got = append(got, <-seen)
	}
	s.restart(t, cfg)
	appendEvents(t, st, 100, 200)
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range seen {
		got = append(got, i)
	}
	wg.Wait()
	mustRun(t, got, 0, 200)
}

func TestReadWaitsForAServerThatIsAwayWhenItBegins(t *testing.T) {
	s, cfg := restartable(t)
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, st, 0, 20)
	flush(t, st)
	s.srv.Shutdown()
	begun := make(chan struct{})
	var got []int64
	var wg sync.WaitGroup
	wg.Go(func() {
		close(begun)
		for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{}) {
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, indexesOf(t, m)...)
		}
	})
	<-begun
	time.Sleep(time.Second) // long enough for a first answer that nobody is there
	s.restart(t, cfg)
	wg.Wait()
	mustRun(t, got, 0, 20)
}

func TestFollowThatIsCancelledLeavesNothingBehind(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, st, 0, 3)
	flush(t, st)
	drain := func(o bus.ReadOptions, stopAfter int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		for _, err := range bus.Read(ctx, s.conn, s.layout, "sid", o) {
			if err != nil {
				return err
			}
			if stopAfter--; stopAfter == 0 {
				return nil
			}
		}
		return nil
	}
	_ = drain(bus.ReadOptions{}, 0) // what nats.go keeps for good is there now
	before := goleak.IgnoreCurrent()
	start := time.Now()
	if err := drain(bus.ReadOptions{Follow: true}, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("follow until ctx is done: %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %s to stop", d)
	}
	for i := range 5 {
		if err := drain(bus.ReadOptions{Follow: i%2 == 0}, 1); err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t, before)
	eventually(t, "the server has no consumer left", func() bool { return s.state(t, 0).Consumers == 0 })
}

func TestReadYieldsWhatItIsAskedFor(t *testing.T) {
	s := newSite(t, small(2))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	for _, node := range []string{"a", "b"} {
		st := open(t, p, node, "sid")
		for i := range int64(4) {
			appendEvents(t, st, i, i+1)
			flush(t, st)
		}
	}
	count := func(o bus.ReadOptions) (n int) {
		for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", o) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Partition != bus.Partition("sid", 2) || m.SID != "sid" || m.Time.IsZero() || m.Writer == "" {
				t.Errorf("message %+v", m)
			}
			n++
		}
		return n
	}
	for _, tt := range []struct {
		name string
		o    bus.ReadOptions
		want int
	}{
		{"everything", bus.ReadOptions{}, 8},
		{"one node", bus.ReadOptions{Node: "b"}, 4},
		{"from a sequence", bus.ReadOptions{FromSeq: 7}, 2},
		{"from beyond the end", bus.ReadOptions{FromSeq: 100}, 0},
		{"a node that has none", bus.ReadOptions{Node: "c"}, 0},
	} {
		if got := count(tt.o); got != tt.want {
			t.Errorf("%s: %d messages, want %d", tt.name, got, tt.want)
		}
	}
}

// More and smaller messages than one request of the reader takes, more bytes than
// one takes, and a consumer that goes away in the middle: each message comes once.
func TestReadOfManyMessagesThroughConsumersThatGo(t *testing.T) {
	s := newSite(t, small(1))
	const n = 5000
	js := s.conn.JetStream()
	for i := range int64(n) {
		size := 10
		if i%100 == 0 {
			size = 60_000
		}
		if _, err := js.PublishAsync(bus.EventSubject(0, "node", "sid"), event(t, i, size)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	var got []int64
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Seq != uint64(len(got))+1 {
			t.Fatalf("message %d is at %d", len(got), m.Seq)
		}
		got = append(got, indexesOf(t, m)...)
		if len(got)%2000 == 500 {
			for name := range s.stream(t, 0).ConsumerNames(t.Context()).Name() {
				if err := s.stream(t, 0).DeleteConsumer(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(got) == n {
			break
		}
	}
	mustRun(t, got, 0, n)
}

func TestReadGoesOnAfterAMessageThatIsNone(t *testing.T) {
	s := newSite(t, small(1))
	subject := bus.EventSubject(0, "node", "sid")
	s.put(t, subject, nil, event(t, 0, 10))
	s.put(t, subject, map[string][]string{bus.HeaderVersion: {"2"}}, event(t, 1, 10))
	s.put(t, subject, map[string][]string{bus.HeaderControl: {"dance"}}, []byte{})
	s.put(t, subject, nil, event(t, 2, 10))
	var errs []error
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{}) {
		if m.SID != "sid" || m.Node != "node" {
			t.Errorf("message %+v", m)
		}
		errs = append(errs, err)
	}
	if len(errs) != 4 || errs[0] != nil || !errors.Is(errs[1], bus.ErrVersion) || !errors.Is(errs[2], bus.ErrPayload) || errs[3] != nil {
		t.Errorf("errors %v", errs)
	}
}

func TestReadSaysWhenTheRestWasTrimmedUnderIt(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	body := int64(60_000)
	for i := range int64(200) { // more than a reader is sent at a time
		if err := st.Append(t.Context(), event(t, i, int(body)), i); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, st)
	var last error
	n := 0
	for _, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{}) {
		if n++; n == 1 {
			if err := s.stream(t, 0).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		last = err
	}
	if !errors.Is(last, bus.ErrTrimmed) {
		t.Errorf("after %d messages: %v", n, last)
	}
}

func TestReadOfASessionThatCannotBe(t *testing.T) {
	s := newSite(t, small(1))
	for _, o := range []struct {
		sid, node string
		l         bus.Layout
	}{{"a.b", "", s.layout}, {"sid", "*", s.layout}, {"sid", "", bus.Layout{}}} {
		var last error
		for _, err := range bus.Read(t.Context(), s.conn, o.l, o.sid, bus.ReadOptions{Node: o.node}) {
			last = err
		}
		if last == nil {
			t.Errorf("session %q of node %q: no error", o.sid, o.node)
		}
	}
}

// What the last message of a replicated stream is is asked of its leader, by those who
// may ask it: a replica can lag.
func TestReaderOfAReplicatedStreamAsksItsLeader(t *testing.T) {
	const leader, replica = "$JS.API.STREAM.MSG.GET.>", "$JS.API.DIRECT.GET.>"
	user := func(name, denied string) *server.User {
		return &server.User{Username: name, Password: "secret-1", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}}}
	}
	srv := embedtest.NATSServer(t, embed.NATSConfig{Tune: func(o *server.Options) {
		o.Users = []*server.User{user("of the leader", replica), user("of replicas", leader)}
	}})
	as := func(name string) *bus.Conn {
		return connectAs(t, bus.Options{URL: []string{srv.URL()}, User: name, Password: "secret-1"})
	}
	s := &site{srv: srv, conn: as("of replicas")}
	var err error
	if s.layout, err = bus.Ensure(t.Context(), s.conn, small(1)); err != nil {
		t.Fatal(err)
	}
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "s")
	appendEvents(t, st, 0, 3)
	flush(t, st)
	for _, tt := range []struct {
		user     string
		replicas int
		certain  bool
		denied   bool
	}{
		{"of the leader", 3, false, false},
		{"of the leader", 3, true, false},
		{"of replicas", 3, false, false},
		{"of replicas", 3, true, true},
		{"of the leader", 1, false, true}, // there is but one, and all may ask it about their subjects
		{"of replicas", 1, false, false},
		{"of replicas", 1, true, false},
	} {
		s.layout.Replicas = tt.replicas
		var got []int64
		var failed error
		for m, err := range bus.Read(t.Context(), as(tt.user), s.layout, "s", bus.ReadOptions{Certain: tt.certain}) {
			if failed = err; err == nil {
				got = append(got, indexesOf(t, m)...)
			}
		}
		if tt.denied != errors.Is(failed, bus.ErrPermission) || !tt.denied && len(got) != 3 {
			t.Errorf("user %s, %d replicas, certain %v: read %v, %v", tt.user, tt.replicas, tt.certain, got, failed)
		}
	}
	for _, err := range bus.Read(t.Context(), as("of the leader"), bus.Layout{Partitions: 1, Replicas: 3}, "nobody", bus.ReadOptions{}) {
		t.Errorf("read a session that is not there: %v", err)
	}
}
