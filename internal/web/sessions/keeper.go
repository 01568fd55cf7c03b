package sessions

import (
	"context"
	"log/slog"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

// A Keeper keeps an index as the installation is.
type Keeper struct {
	Index   *Index
	Library *recording.Library
	Every   time.Duration // how often it looks for sessions that have begun; 0: a second
	Log     *slog.Logger
}

// Run keeps the index until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	for {
		if err := k.Sync(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("list of sessions is not up to date", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sync brings the index up to what the manifests and logs say now.
func (k *Keeper) Sync(ctx context.Context) error {
	for info, err := range k.Library.List(ctx, recording.Filter{}) {
		if err != nil {
			return err
		}
		if err := k.Index.put(ctx, entry{Session: FromInfo(info)}); err != nil {
			return err
		}
	}
	return nil
}

// Rebuild makes the index anew from the manifests and logs, and returns how many
// sessions there are.
func (k *Keeper) Rebuild(ctx context.Context) (int, error) {
	if err := k.Sync(ctx); err != nil {
		return 0, err
	}
	known, err := k.Index.known(ctx)
	return len(known), err
}
