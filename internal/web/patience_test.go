package web_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web"
)

// How long a request may take to come says nothing of how long its answer may take.
func TestAnAnswerMayTakeLongerThanARequest(t *testing.T) {
	s := newSite(t)
	l := s.live("run", "joe", "db-1")
	must(t, l.Flush(t.Context()))
	s.stop()
	s.before = func(server *web.Server) { server.LimitBodies(300 * time.Millisecond) }
	s.serve(func(c *web.Config) { c.Recheck = 100 * time.Millisecond })
	conn := viewer(t, s, "/sessions/run/live", 0)
	defer conn.Close()
	must(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	seen, buf := "", make([]byte, 4<<10)
	for strings.Count(seen, "still here") < 10 {
		n, err := conn.Read(buf)
		seen += string(buf[:n])
		if err != nil {
			t.Fatalf("the view ended with %v after %q", err, seen)
		}
	}
	// But a request that does not come to its end is given up.
	addr := strings.TrimPrefix(s.url, "http://")
	slow, err := net.Dial("tcp", addr)
	must(t, err)
	defer slow.Close()
	_, err = fmt.Fprintf(slow, "POST /api/v1/login HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\n{", addr)
	must(t, err)
	must(t, slow.SetReadDeadline(time.Now().Add(30*time.Second)))
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("a request that never ends: %v", err)
	}
}
