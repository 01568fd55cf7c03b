package recorder_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// While the bus is away events go to the file, also when the stream has been given all
// that is in it: that it has them in memory keeps nothing.
func TestEventsGoToTheSpoolUntilTheBusAnswers(t *testing.T) {
	s := newShaky(t)
	var said lockedBuffer
	opts := s.options(recorder.PolicySpool)
	opts.Logger = slog.New(slog.NewTextHandler(&said, nil))
	session := start(t, s.recorder(t, opts), recorder.Spec{User: "joe", Width: 80, Height: 24})
	says := &saying{s: session}
	says.lines(t, 1)
	s.down()
	says.lines(t, 1)
	eventually(t, "events go to the spool", func() bool { return held(t, s.dir) == 1 })
	for range 50 {
		says.lines(t, 1)
		if err := session.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "the session's events go to the spool"); n != 1 {
		t.Errorf("events went to the spool %d times while the bus was away once", n)
	}
	s.up(t)
	end(t, session)
	eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
	s.mustHave(t, session.ID(), says.text.String())
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
