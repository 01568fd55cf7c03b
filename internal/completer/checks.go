package completer

import (
	"context"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// stuckAfter is how long nothing may have worked before that is a problem: a server
// that is started again takes less.
const stuckAfter = 30 * time.Second

// Checks say whether work gets through.
//
//	nats      the bus is connected
//	consumer  ended sessions are told of
//	log       the upload log can be looked through
//	sessions  of those that were tried lately one came through; one that needs a
//	          person is not counted, since it holds up no other
func (c *Completer) Checks() health.Checks {
	return health.Checks{
		"nats":     c.conn.Connected,
		"consumer": func(context.Context) error { return c.consuming.Problem(stuckAfter) },
		"log":      func(context.Context) error { return c.looked.Problem(stuckAfter) },
		"sessions": func(context.Context) error { return health.NoRestart(c.tries.Problem(stuckAfter)) },
	}
}

// saw notes a try, unless it may have failed because the completer is told to stop.
func saw(ctx context.Context, p *health.Pulse, err error) {
	if ctx.Err() == nil {
		p.Saw(err)
	}
}
