package web

import (
	"context"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// staleAfter is how long the list of sessions may not be brought up to date before that
// is a problem: a server that is started again takes less.
const staleAfter = 30 * time.Second

// Checks say whether what the page shows gets through.
//
//	nats  the bus is connected, where there is one
//	list  the list of sessions is kept up to date
func (s *Server) Checks() health.Checks {
	checks := health.Checks{
		"list": func(context.Context) error { return health.NoRestart(s.listed.Problem(staleAfter)) },
	}
	if conn := s.lib.Conn; conn != nil {
		checks["nats"] = conn.Connected
	}
	return checks
}
