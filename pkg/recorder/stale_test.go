package recorder_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// A replica that lags answers a direct get that it has no message of a session. What is
// spooled of it is good all the same, and is neither put aside nor sent twice.
func TestAReplicaThatLagsPutsNoSpooledSessionAside(t *testing.T) {
	tests := []struct {
		name  string
		first bool // the file has the session from its first event
		stale int  // direct gets that such a replica answers
		sends int  // until the file has gone
	}{
		{"the file begins with the session, and had been sent", true, 1, 1},
		{"the replica goes on to lag", true, 3, 1},
		{"the file begins within the session", false, 1, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShaky(t)
			if tt.first {
				s.down()
			}
			r := s.lazy(t, s.options(recorder.PolicySpool))
			says := &saying{s: start(t, r, recorder.Spec{User: "joe", Width: 80, Height: 24})}
			says.lines(t, 10)
			if !tt.first {
				if err := says.s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.down()
			}
			says.lines(t, 10)
			end(t, says.s)
			closeNow(r)
			s.up(t)
			if tt.first {
				s.sendAndDie(t, says.s.ID())
			}
			old := newLag(t, s.url, "DIRECT.GET.", says.s.ID(), tt.stale)
			behind := *s
			behind.url = old.url()
			r = behind.lazy(t, s.options(recorder.PolicySpool))
			for i := 1; i <= tt.sends; i++ {
				err := r.SendSpool(t.Context(), func(got recorder.Sent) {
					if i < tt.sends && !errors.Is(got.Err, bus.ErrNoSession) || i == tt.sends && got.Err != nil || got.Info.Refused != "" {
						t.Errorf("send %d: %+v", i, got)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if n, left := held(t, s.dir), old.left.Load(); n != 0 || left > 0 {
				t.Errorf("%d files are left, and the replica was to lag %d times more", n, max(left, 0))
			}
			s.mustHave(t, says.s.ID(), says.text.String())
		})
	}
}

// sendAndDie sends the file of a session and leaves it there, as a crash does that comes
// before its removal.
func (s *shaky) sendAndDie(t *testing.T, sid string) {
	t.Helper()
	path := filepath.Join(s.dir.Path(), spool.NameOf("gateway", sid))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := s.lazy(t, s.options(recorder.PolicySpool))
	err = r.SendSpool(t.Context(), func(got recorder.Sent) {
		if got.Err != nil {
			t.Errorf("%+v", got)
		}
	})
	closeNow(r)
	if err := errors.Join(err, os.WriteFile(path, file, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// A lag stands between a client and its server, and has some requests for a session ask
// for another one, of which there is nothing.
type lag struct {
	ln        net.Listener
	target    string
	verb, sid string
	left      atomic.Int32
	wg        sync.WaitGroup
}

func newLag(t *testing.T, target, verb, sid string, times int) *lag {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lag{ln: ln, target: strings.TrimPrefix(target, "nats://"), verb: verb, sid: sid}
	l.left.Store(int32(times))
	l.wg.Go(l.serve)
	t.Cleanup(func() { // once its clients have closed their connections
		_ = ln.Close()
		l.wg.Wait()
	})
	return l
}

func (l *lag) url() string { return "nats://" + l.ln.Addr().String() }

func (l *lag) serve() {
	for {
		client, err := l.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		l.wg.Go(func() { pass(server, client, l.spoil) })
		l.wg.Go(func() { pass(client, server, nil) })
	}
}

func (l *lag) spoil(b []byte) {
	if at := bytes.Index(b, []byte(l.sid)); at >= 0 && bytes.Contains(b[:at], []byte(l.verb)) && l.left.Add(-1) >= 0 {
		b[at] = '~'
	}
}

func pass(to, from net.Conn, spoil func([]byte)) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if spoil != nil {
			spoil(buf[:n])
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
