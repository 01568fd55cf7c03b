package bus_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A NATS client with no library at all, one bare OneOf a message: with and
// without headers, over a socket.
func TestClientThatSpeaksTheRawProtocolIsAProducer(t *testing.T) {
	s := newSite(t, small(8))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.srv.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	line := func(prefix string) string {
		t.Helper()
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if l = strings.TrimSpace(l); strings.HasPrefix(l, prefix) {
				return l
			}
			if strings.HasPrefix(l, "-ERR") {
				t.Fatal(l)
			}
		}
	}
	line("INFO")
	subject := bus.EventSubject(bus.Partition("raw-session", 8), "node", "raw-session")
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answers.* 1\r\n")
	for i := range int64(20) {
		rec := event(t, i, 100)
		if i%2 == 0 {
			fmt.Fprintf(conn, "PUB %s answers.%d %d\r\n%s\r\n", subject, i, len(rec), rec)
		} else {
			h := "NATS/1.0\r\nNats-Expected-Stream: " + bus.EventStream(bus.Partition("raw-session", 8)) + "\r\n\r\n"
			fmt.Fprintf(conn, "HPUB %s answers.%d %d %d\r\n%s%s\r\n", subject, i, len(h), len(h)+len(rec), h, rec)
		}
		line(fmt.Sprintf("MSG answers.%d", i)) // one message in flight
		if ack := line("{"); strings.Contains(ack, "error") {
			t.Fatal(ack)
		}
	}
	h := "NATS/1.0\r\n" + bus.HeaderControl + ": end\r\n" + bus.HeaderCount + ": 20\r\n\r\n"
	fmt.Fprintf(conn, "HPUB %s answers.end %d %d\r\n%s\r\n", subject, len(h), len(h), h)
	if ack := line("{"); strings.Contains(ack, "error") {
		t.Fatal(ack)
	}
	s.mustHold(t, "raw-session", 0, 20)
	for m := range bus.Read(t.Context(), s.conn, s.layout, "raw-session", bus.ReadOptions{FromSeq: 21}) {
		if m.Control != bus.ControlEnd || m.Count != 20 || m.Writer != "" {
			t.Errorf("the end: %+v", m)
		}
	}
}
