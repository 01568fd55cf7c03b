package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A view is one request about one session by somebody who may see it.
type view struct {
	sessions.Session
	who token.Token
}

type sessionHandler func(w http.ResponseWriter, r *http.Request, v *view)

// session is the one way to a session: whoever may not see it is told that there
// is none.
func (s *Server) session(next sessionHandler) http.Handler {
	return s.authorized(func(w http.ResponseWriter, r *http.Request) {
		v, err := s.find1(r)
		if err != nil {
			s.fail(w, err)
			return
		}
		next(w, r, v)
	})
}

func (s *Server) find1(r *http.Request) (*view, error) {
	sid := r.PathValue("sid")
	if bus.ValidName(sid) != nil {
		return nil, errBad("A session id has 1 to 64 of A-Z a-z 0-9 _ -.")
	}
	found, err := s.index.Get(r.Context(), sid)
	if errors.Is(err, sessions.ErrNotFound) {
		// It may have begun a moment ago.
		var info recording.Info
		info, err = s.lib.Find(r.Context(), sid)
		found = sessions.FromInfo(info)
	}
	if errors.Is(err, recording.ErrNotFound) {
		return nil, errNoSession(sid)
	}
	if err != nil {
		return nil, err
	}
	v := &view{found, who(r.Context())}
	if !v.who.May(found.User, found.Host) {
		return nil, errNoSession(sid)
	}
	return v, nil
}

// read opens the session's recording for one request at a time of few. Call done
// when it has been read.
func (s *Server) read(ctx context.Context, v *view) (rec *recording.Recording, done func(), err error) {
	select {
	case s.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	rec, err = s.lib.Open(ctx, v.Session.Session)
	if err != nil {
		<-s.reads
		return nil, nil, err
	}
	return rec, func() { _ = rec.Close(); <-s.reads }, nil
}

// fresh says whether the viewer has to be sent anything: what is made of a
// finished recording stays as it is, and what the viewer has of it is still good.
func (s *Server) fresh(w http.ResponseWriter, r *http.Request, rec *recording.Recording, also ...string) bool {
	if m, _ := rec.Manifest(); m == nil {
		return true
	}
	sum := sha256.New()
	fmt.Fprintln(sum, version.Line(""), rec.Identity(), r.URL.Path, r.URL.Query().Encode(), also)
	// Weak: compressed or not, it is the same.
	tag := `W/"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
	w.Header().Set("ETag", tag)
	if !matches(r.Header.Get("If-None-Match"), tag) {
		return true
	}
	w.WriteHeader(http.StatusNotModified)
	return false
}

func matches(header, tag string) bool {
	for have := range strings.SplitSeq(header, ",") {
		have = strings.TrimSpace(have)
		if have == "*" || strings.TrimPrefix(have, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// starts remembers when sessions began, which never changes.
type starts struct {
	mu sync.Mutex
	of map[string]time.Time
}

// maxStarts bounds what is remembered.
const maxStarts = 10_000

// start is the time of a session's first event: time zero of all that is said of it.
func (s *Server) start(ctx context.Context, v *view, rec *recording.Recording) (time.Time, error) {
	if m, _ := rec.Manifest(); m != nil && len(m.Parts) > 0 {
		return m.Parts[0].FirstEvent, nil
	}
	sid := v.Session.Session
	s.starts.mu.Lock()
	at, ok := s.starts.of[sid]
	s.starts.mu.Unlock()
	if ok {
		return at, nil
	}
	for first, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil {
			return time.Time{}, err
		}
		s.starts.mu.Lock()
		defer s.starts.mu.Unlock()
		if s.starts.of == nil || len(s.starts.of) >= maxStarts {
			s.starts.of = map[string]time.Time{}
		}
		s.starts.of[sid] = first.Time()
		return first.Time(), nil
	}
	return time.Time{}, nil // there is no event
}

// A clock gives the milliseconds of events since the session's first. They never
// go back, whatever was done to the clock of who recorded.
type clock struct {
	zero time.Time
	last int64
}

func (c *clock) at(t time.Time) int64 {
	c.last = max(c.last, t.Sub(c.zero).Milliseconds())
	return c.last
}
