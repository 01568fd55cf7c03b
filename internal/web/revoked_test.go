package web_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// A recording may take hours to download, and is given to whom may see it: when the
// token is taken away the answer ends, wherever it is, and nobody takes it for whole.
func TestATokenThatIsTakenAwayEndsADownload(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.Recheck = 50 * time.Millisecond })
	sc := terminal(t, "joe", "db-1")
	for i := range 200 {
		sc.wait(time.Second).print(noise(40_000, uint64(i)))
	}
	m := s.put("long", 1<<20, sc.records)
	s.sync()
	for i, path := range []string{"recording", "export?format=json", "output", "live", "raw"} {
		tok := s.token(token.Token{Name: name("t", i), Role: token.Admin})
		r := s.request(tok, http.MethodGet, "/sessions/long/"+path, nil)
		client := &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: narrow}}
		resp, err := client.Do(r)
		must(t, err)
		first := make([]byte, 1000)
		_, err = io.ReadFull(resp.Body, first)
		must(t, err)
		must(t, s.tokens.Remove(name("t", i)))
		rest, err := io.ReadAll(slow{resp.Body})
		resp.Body.Close()
		switch said := strings.Contains(string(rest), "token is no longer good"); {
		case path == "live" && !said:
			t.Errorf("%s: it is not said why it ends after %d bytes: %v", path, len(rest), err)
		case path != "live" && err == nil, int64(len(rest)) > m.Bytes*3/4:
			t.Errorf("%s: %d bytes came of a recording of %d: %v", path, len(rest), m.Bytes, err)
		}
	}
	// Whoever has a token that is good gets all of it, however long that takes.
	if a := s.get("/sessions/long/recording"); int64(len(a.body)) != m.Bytes {
		t.Errorf("%d bytes of %d", len(a.body), m.Bytes)
	}
}

// However little is stored of what is sent, what was read before does not go on for ever.
func TestATokenThatIsTakenAwayEndsWhatExpands(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.Recheck = 50 * time.Millisecond })
	sc := terminal(t, "joe", "db-1")
	const events, each = 400, 40_000
	for range events {
		sc.wait(time.Second).print(strings.Repeat("a", each))
	}
	s.finished("dull", sc)
	for i, path := range []string{"export?format=text", "output"} {
		tok := s.token(token.Token{Name: name("t", i), Role: token.Admin})
		client := &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: narrow}}
		resp, err := client.Do(s.request(tok, http.MethodGet, "/sessions/dull/"+path, nil))
		must(t, err)
		must(t, s.tokens.Remove(name("t", i)))
		n, err := io.Copy(io.Discard, slow{resp.Body})
		resp.Body.Close()
		if err == nil || n > events*each/2 {
			t.Errorf("%s: %d bytes came: %v", path, n, err)
		}
	}
}

// Whoever may see less from now on sees no more of what it may not.
func TestATokenThatMaySeeLessEndsALiveView(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.Recheck = 50 * time.Millisecond })
	must(t, s.live("run", "joe", "db-1").Flush(t.Context()))
	s.listed("run", "live")
	tok := s.token(token.Token{Name: "team", Role: token.Auditor, Filter: token.Filter{User: []string{"joe"}}})
	view := s.stream(tok, "/sessions/run/live")
	file, err := os.ReadFile(s.tokens.Path())
	must(t, err)
	must(t, token.WritePrivate(s.tokens.Path(), bytes.Replace(file, []byte(`"joe"`), []byte(`"anna"`), 1)))
	dropped := view.until("it is dropped", func(e sseEvent) bool { return e.event == "dropped" })
	if !strings.Contains(dropped.data, "no longer good") {
		t.Errorf("it is dropped with %s", dropped.data)
	}
}

// A slow reader takes its time.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(p[:min(len(p), 8<<10)])
}

// narrow connects with little room for what is not read.
func narrow(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	}
	return conn, err
}
