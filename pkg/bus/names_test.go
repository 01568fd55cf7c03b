package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A mapping of the account can find the partition for a client.
func TestPartitionIsWhatTheServersMappingSays(t *testing.T) {
	s := newSite(t, small(1))
	acc := s.srv.Server().GlobalAccount()
	err := acc.AddMapping("simple.*.*", "mapped.{{partition(7,2)}}.{{wildcard(1)}}.{{wildcard(2)}}")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.conn.NATS().SubscribeSync("mapped.>")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		sid := fmt.Sprintf("sid-%d-%s", i, strings.Repeat("x", i%40))
		if err := s.conn.NATS().Publish("simple.node."+sid, nil); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("mapped.%d.node.%s", bus.Partition(sid, 7), sid); m.Subject != want {
			t.Fatalf("the server says %s, we say %s", m.Subject, want)
		}
	}
}

func TestNamesThatWouldBeAnotherSubjectAreRefused(t *testing.T) {
	for _, good := range []string{"a", "A-Z_09", strings.Repeat("x", 64), "8b0e8ee0-0d7c-4a1c-9c4b-0e9d1f4f1f6a"} {
		if err := bus.ValidName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "a.b", "*", ">", "a b", "a\n", "é", strings.Repeat("x", 65), "\x00"} {
		if err := bus.ValidName(bad); !errors.Is(err, bus.ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEventSubjectsReadBack(t *testing.T) {
	p, node, sid, err := bus.ParseEventSubject(bus.EventSubject(11, "node_1", "sid-2"))
	if p != 11 || node != "node_1" || sid != "sid-2" || err != nil {
		t.Error(p, node, sid, err)
	}
	for _, bad := range []string{
		"", "tapedeck.events.1.node", "tapedeck.events.1.node.sid.more", "tapedeck.events.x.node.sid", "tapedeck.events.01.node.sid",
		"tapedeck.events.-1.node.sid", "tapedeck.events.+1.node.sid", "tapedeck.events.1024.node.sid", "tapedeck.uploads.1.node.sid", "tapedeck.events.1.*.sid",
	} {
		if _, _, _, err := bus.ParseEventSubject(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
