package bus_test

import (
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

func TestStatusReachesThoseWhoWatchTheSession(t *testing.T) {
	s := newSite(t, small(1))
	got := make(chan string, 100)
	watch := func(node, sid, name string) func() {
		stop, err := bus.WatchStatus(s.conn, node, sid, func(st *events.StreamStatus) { got <- name + st.GetUploadId() })
		if err != nil {
			t.Fatal(err)
		}
		return stop
	}
	say := func(node, sid, what string) {
		if err := bus.PublishStatus(s.conn, node, sid, &events.StreamStatus{UploadId: what, LastEventIndex: -1}); err != nil {
			t.Fatal(err)
		}
	}
	before := s.conn.NATS().NumSubscriptions()
	stopX, stopY, stopX2 := watch("a", "x", "x:"), watch("a", "y", "y:"), watch("b", "x", "bx:")
	if n := s.conn.NATS().NumSubscriptions() - before; n != 2 {
		t.Errorf("%d subscriptions for two nodes", n)
	}
	say("a", "x", "1")
	say("a", "nobody", "2")
	say("a", "y", "3")
	for _, want := range []string{"x:1", "y:3"} {
		if g := <-got; g != want {
			t.Errorf("heard %s, want %s", g, want)
		}
	}
	stopX()
	say("a", "x", "4")
	say("a", "y", "5")
	if g := <-got; g != "y:5" {
		t.Errorf("heard %s, want y:5", g)
	}
	stopY()
	stopX2()
	if n := s.conn.NATS().NumSubscriptions(); n != before {
		t.Errorf("%d subscriptions are left", n-before)
	}
	if _, err := bus.WatchStatus(s.conn, "*", "x", nil); err == nil {
		t.Error("a wildcard was taken for a node")
	}
}
