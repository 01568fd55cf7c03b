package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// How long to wait before a store that did not answer is asked again.
const (
	firstAgain = time.Second
	maxAgain   = 30 * time.Second
)

// AwaitBucket returns when the store has answered for its bucket. A store that is away,
// or says that it is busy, is asked until ctx is done; the log and the service's check
// "start" say why meanwhile. What waiting does not mend is an error at once: there is no
// such bucket, or it is not ours.
func (t *Telemetry) AwaitBucket(ctx context.Context, service string, store *s3store.Store) error {
	var asked health.Pulse
	t.Health.Add(service, health.Checks{"start": func(context.Context) error { return asked.Problem(0) }})
	for again := firstAgain; ; again = min(2*again, maxAgain) {
		err := store.CheckBucket(ctx)
		if err == nil || errors.Is(err, s3store.ErrNotFound) || errors.Is(err, s3store.ErrRefused) {
			asked.Saw(nil)
			return err
		}
		asked.Saw(err)
		t.Log.WarnContext(ctx, "the store does not answer for its bucket", "err", err, "again_in", again)
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return err
		}
	}
}
