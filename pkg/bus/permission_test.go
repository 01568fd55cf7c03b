package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// producerPermissions are all that a producer of node needs.
func producerPermissions(node string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"tapedeck.events.*." + node + ".*", "tapedeck.access.>",
			"$JS.API.DIRECT.GET.*.tapedeck.events.*." + node + ".*",
			"$JS.API.STREAM.INFO.*",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + node + ".>", "tapedeck.status." + node + ".*"}},
	}
}

// guarded is a site with an operator and producers that are limited to a node.
func guarded(t *testing.T) *site {
	t.Helper()
	srv := embedtest.NATSServer(t, embed.NATSConfig{Tune: func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "operator", Password: "secret-1"},
			{Username: "a", Password: "secret-2", Permissions: producerPermissions("a")},
			{Username: "mute", Password: "secret-3", Permissions: &server.Permissions{
				Publish:   producerPermissions("a").Publish,
				Subscribe: &server.SubjectPermission{Allow: []string{"nothing"}},
			}},
		}
	}})
	s := &site{srv: srv, conn: connectAs(t, bus.Options{URL: []string{srv.URL()}, User: "operator", Password: "secret-1"})}
	var err error
	if s.layout, err = bus.Ensure(t.Context(), s.conn, small(2)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) as(t *testing.T, user, password, inbox string) *bus.Conn {
	t.Helper()
	return connectAs(t, bus.Options{URL: []string{s.srv.URL()}, User: user, Password: bus.Secret(password), InboxPrefix: inbox})
}

func TestProducerLimitedToItsNodeCanDoAllItMust(t *testing.T) {
	s := guarded(t)
	px := newProxy(t, s.srv.URL())
	c := connectAs(t, bus.Options{URL: []string{px.url()}, User: "a", Password: "secret-2", InboxPrefix: "_INBOX_a"})
	var err error
	if s.layout, err = bus.Inspect(t.Context(), c); err != nil || s.layout.Partitions != 2 {
		t.Fatal(s.layout, err)
	}
	heard := make(chan int64, 10)
	stop, err := bus.WatchStatus(c, "a", "sid", func(st *events.StreamStatus) { heard <- st.GetLastEventIndex() })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	p := s.publisher(t, c, bus.PublisherOptions{})
	st := open(t, p, "a", "sid")
	px.set(func() { // so that it must ask what became of a message
		seen := 0
		px.loseAck = func(string) bool { seen++; return seen == 1 }
	})
	appendEvents(t, st, 0, 50)
	flush(t, st)
	if err := st.Alive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, next, err := p.Resume(t.Context(), "a", "sid")
	if err != nil || next != 50 {
		t.Fatal(next, err)
	}
	appendEvents(t, again, 50, 60)
	if err := bus.PublishStatus(s.conn, "a", "sid", &events.StreamStatus{LastEventIndex: 41}); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != 41 {
		t.Errorf("status %d", got)
	}
	if err := again.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mustHold(t, "sid", 0, 60)
}

func TestDeniedPublishIsAnErrorAndNotSilence(t *testing.T) {
	s := guarded(t)
	p := s.publisher(t, s.as(t, "a", "secret-2", "_INBOX_a"), bus.PublisherOptions{AckTimeout: time.Minute})
	ours, theirs := open(t, p, "a", "sid"), open(t, p, "b", "sid")
	appendEvents(t, theirs, 0, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := theirs.Flush(ctx)
	if !errors.Is(err, bus.ErrPermission) || !strings.Contains(err.Error(), bus.EventSubject(bus.Partition("sid", 2), "b", "sid")) {
		t.Fatalf("publish to another node's subject: %v", err)
	}
	appendEvents(t, ours, 0, 1)
	flush(t, ours)
	_, _, err = p.Resume(ctx, "b", "sid")
	if !errors.Is(err, bus.ErrPermission) {
		t.Errorf("resume another node's session: %v", err)
	}
	_, _, err = p.Resume(ctx, "a", "trimmed")
	if !errors.Is(err, bus.ErrPermission) || !strings.Contains(err.Error(), "upload log") {
		t.Errorf("resume with nothing on the bus: %v", err)
	}
	if _, err := bus.Ensure(ctx, s.as(t, "a", "secret-2", "_INBOX_a"), bus.Layout{Partitions: 2}); err != nil {
		t.Errorf("ensure where all is there: %v", err)
	}
}

func TestUserThatMayHearNoAnswerIsTold(t *testing.T) {
	s := guarded(t)
	c := s.as(t, "mute", "secret-3", "")
	st := open(t, s.publisher(t, c, bus.PublisherOptions{AckTimeout: time.Minute}), "a", "sid")
	_ = st.Append(t.Context(), event(t, 0, 10), 0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := st.Flush(ctx); !errors.Is(err, bus.ErrPermission) {
		t.Errorf("flush: %v", err)
	}
	for range 2 {
		if _, err := bus.Inspect(ctx, c); !errors.Is(err, bus.ErrPermission) {
			t.Errorf("inspect: %v", err)
		}
	}
}
