package web

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/lookaudit"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// How a recording is looked at, as the access events have it.
const (
	lookPage   = "web"  // played in the page, which takes many requests
	lookLive   = "live" // followed while it ran
	lookStored = "recording"
)

// sameLook is how long further requests of one viewer for one recording, in one
// way, are the same look.
const sameLook = 15 * time.Minute

// maxLooks bounds what is remembered of looks.
const maxLooks = 100_000

// access publishes who looks at what.
type access struct {
	conn *bus.Conn // nil: there is no bus, and looks are only logged
	log  *slog.Logger

	mu    sync.Mutex
	looks map[look]time.Time
}

type look struct{ who, sid, format string }

func newAccess(conn *bus.Conn, log *slog.Logger) *access {
	return &access{conn: conn, log: log, looks: map[look]time.Time{}}
}

// looked publishes that somebody looks at a recording, before it is shown. Many
// requests of one look are one event.
func (s *Server) looked(ctx context.Context, v *view, format string) error {
	return s.access.looked(ctx, look{v.who.Name, v.Session.Session, format}, v.Kind)
}

func (a *access) looked(ctx context.Context, l look, kind string) error {
	now := time.Now()
	a.mu.Lock()
	at, ok := a.looks[l]
	a.mu.Unlock()
	if ok && now.Sub(at) < sameLook {
		return nil
	}
	if a.conn == nil {
		a.log.Info("recording is looked at", "session", l.sid, "who", l.who, "format", l.format)
	} else if err := lookaudit.Publish(ctx, a.conn, lookaudit.Look{Session: l.sid, User: l.who, Kind: kind, Format: l.format}); err != nil {
		a.log.Error("look is not recorded, so it is refused", "session", l.sid, "who", l.who, "err", err)
		return &problem{http.StatusServiceUnavailable, "audit_unavailable",
			"Who looks at a recording is recorded first, and the bus does not take it now. Try again soon."}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.looks) >= maxLooks {
		for l, at := range a.looks {
			if now.Sub(at) >= sameLook || len(a.looks) >= maxLooks {
				delete(a.looks, l)
			}
		}
	}
	a.looks[l] = now
	return nil
}
