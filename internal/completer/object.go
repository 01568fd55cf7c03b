package completer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A finished object, or the zero value for a session without events.
type finished struct {
	key   string
	etag  string
	parts []s3store.Part // as it was completed
}

// object makes the recording, or finds it made. It returns a *lostError if parts
// exist nowhere, and an alarm for what it must not decide.
func (c *Completer) object(ctx context.Context, pl *plan) (finished, error) {
	up := pl.state.Upload
	if len(pl.parts) == 0 {
		if up == nil {
			return finished{}, nil
		}
		// S3 completes no upload without parts. One that is left open is an
		// orphan a day later.
		return finished{}, c.store.AbortUpload(ctx, up.Key, up.ID)
	}
	done := finished{key: up.Key, parts: pl.stored()}
	var err error
	failpoint.Hit("completer/complete/before")
	done.etag, err = c.store.CompleteUpload(ctx, up.Key, up.ID, done.parts)
	if errors.Is(err, s3store.ErrBadPart) {
		if done.parts, err = c.acceptParts(ctx, pl, err); err == nil {
			done.etag, err = c.store.CompleteUpload(ctx, up.Key, up.ID, done.parts)
		}
	}
	failpoint.Hit("completer/complete/after")
	switch {
	case err == nil:
		return done, nil
	case errors.Is(err, s3store.ErrExists), errors.Is(err, s3store.ErrUploadGone):
		return c.resolve(ctx, pl, done, err)
	}
	return finished{}, err
}

// resolve decides what it means that the upload is gone or the key is taken: a
// completed upload whose reply was lost looks the same.
func (c *Completer) resolve(ctx context.Context, pl *plan, done finished, cause error) (finished, error) {
	up := pl.state.Upload
	obj, err := c.store.Head(ctx, up.Key)
	switch {
	case err == nil && obj.Meta[bus.MetaNonce] == up.Nonce && obj.Size == pl.bytes:
		done.etag = obj.ETag
		return done, nil
	case err == nil:
		return finished{}, taken(pl, obj)
	case !errors.Is(err, s3store.ErrNotFound):
		return finished{}, err
	case errors.Is(cause, s3store.ErrUploadGone):
		return c.uploadAnew(ctx, pl)
	}
	// Taken a moment ago and not any more: try again later.
	return finished{}, cause
}

// taken is an alarm about an object under our key that is not our recording: it is
// never overwritten, whoever made it. Nothing is lost by it yet. Once somebody has
// moved it away the next try completes the upload, or, if that is gone, makes the
// recording anew from the bus. One with our nonce is what a store left that broke off
// while it put our parts together.
func taken(pl *plan, obj s3store.Object) error {
	up := pl.state.Upload
	if obj.Meta[bus.MetaNonce] == up.Nonce {
		return alarm{fmt.Errorf("object %s is not whole: it has %d bytes of %d; move it away and the recording is made",
			up.Key, obj.Size, pl.bytes)}
	}
	return alarm{fmt.Errorf("object %s is not ours: %d bytes with nonce %q, ours has %d with %q; move it away and the recording is made",
		up.Key, obj.Size, obj.Meta[bus.MetaNonce], pl.bytes, up.Nonce)}
}

// acceptParts takes the store's ETags for parts that it has under another one, if
// size and checksum say that they are the same bytes; cause is what the store said.
func (c *Completer) acceptParts(ctx context.Context, pl *plan, cause error) ([]s3store.Part, error) {
	up := pl.state.Upload
	listed, err := c.store.ListParts(ctx, up.Key, up.ID)
	if err != nil {
		return nil, err
	}
	have := make(map[int]s3store.Part, len(listed))
	for _, p := range listed {
		have[p.Number] = p
	}
	parts, changed := pl.stored(), false
	for i, want := range parts {
		got, ok := have[want.Number]
		switch {
		case !ok:
			return nil, alarm{fmt.Errorf("part %d of %s is not in the store: %w", want.Number, up.Key, cause)}
		case got.ETag == want.ETag:
		case got.Size != want.Size || got.Checksum != want.Checksum || want.Checksum == "":
			return nil, alarm{fmt.Errorf("part %d of %s differs in the store: %d bytes %s %s, committed %d bytes %s %s: %w",
				want.Number, up.Key, got.Size, got.ETag, got.Checksum, want.Size, want.ETag, want.Checksum, cause)}
		default:
			parts[i].ETag, changed = got.ETag, true
		}
	}
	if !changed {
		return nil, alarm{fmt.Errorf("complete %s: the store has every part as committed: %w", up.Key, cause)}
	}
	return parts, nil
}
