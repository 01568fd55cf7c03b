package accesslog_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func connect(t *testing.T, o bus.Options) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func install(t *testing.T, c *bus.Conn) {
	t.Helper()
	if _, err := bus.Ensure(t.Context(), c, bus.Layout{EventsMaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
}

// readStream is all records of ACCESS. It fails the test if a message is not as
// readers may expect.
func readStream(t *testing.T, c *bus.Conn) []accesslog.Record {
	t.Helper()
	recs, _ := readTo(t, c)
	return recs
}

// readTo also returns the sequence of the last message that it read.
func readTo(t *testing.T, c *bus.Conn) (recs []accesslog.Record, last uint64) {
	t.Helper()
	stream, err := c.JetStream().Stream(t.Context(), bus.StreamAccess)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type origin struct{ writer, subject string }
	numbers := map[origin]int{}
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(m.Header.Get(accesslog.HeaderMessage))
		from := origin{m.Header.Get(bus.HeaderWriter), m.Subject}
		was, ok := numbers[from]
		if err != nil || from.writer == "" || ok && n <= was || m.Header.Get(bus.HeaderVersion) != "1" {
			t.Errorf("message %d on %s: %v after number %d of its writer", seq, m.Subject, m.Header, was)
		}
		numbers[from] = n
		got, err := accesslog.ParseRecords(m.Data)
		if err != nil {
			t.Errorf("message %d: %v", seq, err)
		}
		for _, r := range got {
			if bus.AccessSubject(strconv.FormatInt(r.ResourceID, 10)) != m.Subject {
				t.Errorf("record of resource %d on %s", r.ResourceID, m.Subject)
			}
		}
		recs = append(recs, got...)
	}
	return recs, info.State.LastSeq
}

// lossy loses the reply to every other message that was stored.
type lossy struct {
	accesslog.Publisher
	n atomic.Int64
}

func (l *lossy) Publish(ctx context.Context, m accesslog.Message) error {
	err := l.Publisher.Publish(ctx, m)
	if err == nil && l.n.Add(1)%2 == 1 {
		return errors.New("reply lost")
	}
	return err
}

func TestMessageWhoseReplyWasLostIsInTheStreamOnce(t *testing.T) {
	c := connect(t, bus.Options{URL: []string{embedtest.NATS(t)}})
	install(t, c)
	pub := &lossy{Publisher: accesslog.NewPublisher(c)}
	var stops []func() error
	var trackers []*accesslog.Tracker
	for range 2 { // two writers on the same subjects
		tr, stop := run(t, accesslog.Config{}, pub)
		trackers, stops = append(trackers, tr), append(stops, stop)
	}
	for i := range 500 {
		f := flow(i)
		f.Resource = int64(i % 3)
		for _, tr := range trackers {
			tr.Start(f).End(accesslog.ReasonClosed)
		}
	}
	for _, stop := range stops {
		mustStop(t, stop)
	}
	recs := readStream(t, c)
	if got := ends(t, recs); len(got) != 1000 || len(recs) != 2000 {
		t.Errorf("%d sessions in %d records, want 1000 in 2000", len(got), len(recs))
	}
}

func TestSessionsWhileTheBusIsAwayArriveOnceItIsBack(t *testing.T) {
	cfg := embed.NATSConfig{Dir: t.TempDir(), MaxStore: 8 << 30}
	srv, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = srv.Port()
	c := connect(t, bus.Options{URL: []string{srv.URL()}})
	install(t, c)
	tr, stop := run(t, accesslog.Config{Drain: 20 * time.Second}, accesslog.NewPublisher(c))
	for i := range 300 {
		switch i {
		case 100:
			srv.Shutdown()
		case 200:
			srv = embedtest.NATSServer(t, cfg)
		}
		tr.Start(flow(i)).End(accesslog.ReasonClosed)
		time.Sleep(time.Millisecond)
	}
	mustStop(t, stop)
	recs := readStream(t, c)
	if got := ends(t, recs); len(got) != 300 || len(recs) != 600 {
		t.Errorf("%d sessions in %d records, want 300 in 600", len(got), len(recs))
	}
	if st := tr.Stats(); st.Dropped.Total() != 0 || st.Sent.Total() != 600 || st.Open != 0 || st.Spooled != 0 {
		t.Errorf("%+v", st)
	}
}

func TestProducersUserMayPublishAndAnotherIsAnError(t *testing.T) {
	srv := embedtest.NATSServer(t, embed.NATSConfig{Tune: func(o *server.Options) {
		inbox := &server.SubjectPermission{Allow: []string{"_INBOX_a.>"}}
		o.Users = []*server.User{
			{Username: "operator", Password: "secret-1"},
			{Username: "a", Password: "secret-2", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"tapedeck.access.>"}}, Subscribe: inbox,
			}},
			{Username: "b", Password: "secret-3", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"other.>"}}, Subscribe: inbox,
			}},
		}
	}})
	as := func(user, password string) *bus.Conn {
		return connect(t, bus.Options{URL: []string{srv.URL()}, User: user, Password: bus.Secret(password), InboxPrefix: "_INBOX_a"})
	}
	operator := connect(t, bus.Options{URL: []string{srv.URL()}, User: "operator", Password: "secret-1"})
	install(t, operator)
	m := accesslog.Message{Resource: 7, Writer: "w", Body: []byte(`[]`)}
	if err := accesslog.NewPublisher(as("a", "secret-2")).Publish(t.Context(), m); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := accesslog.NewPublisher(as("b", "secret-3")).Publish(ctx, m)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "tapedeck.access.7") {
		t.Error(err)
	}
}

func TestStreamThatIsFullRefusesAndRecordsWait(t *testing.T) {
	c := connect(t, bus.Options{URL: []string{embedtest.NATS(t)}})
	if _, err := bus.Ensure(t.Context(), c, bus.Layout{EventsMaxBytes: 1 << 20, AccessMaxBytes: 200_000}); err != nil {
		t.Fatal(err)
	}
	stream, err := c.JetStream().Stream(t.Context(), bus.StreamAccess)
	if err != nil {
		t.Fatal(err)
	}
	tr, stop := run(t, accesslog.Config{}, accesslog.NewPublisher(c))
	const n = 1000 // some 600 KB of records
	for i := range n {
		tr.Start(flow(i)).End(accesslog.ReasonClosed)
	}
	eventually(t, "the stream is full", func() bool {
		st := tr.Stats()
		return st.Sent.Total() > 0 && st.Spooled > 0 && st.Attempts > 5
	})
	var recs []accesslog.Record
	eventually(t, "all is sent, as a reader makes room", func() bool {
		all := tr.Stats().Spooled == 0
		more, last := readTo(t, c)
		recs = append(recs, more...)
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(last+1)); err != nil {
			t.Fatal(err)
		}
		return all
	})
	mustStop(t, stop)
	if got := ends(t, recs); len(got) != n || len(recs) != 2*n {
		t.Errorf("%d sessions in %d records", len(got), len(recs))
	}
}
