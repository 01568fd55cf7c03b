package recording

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// OpenObject opens a recording in a store by its name, which is the session id or
// what [Rebuild] called it. Its error wraps [s3store.ErrNotFound] if there is no
// such object; a recording without a manifest is opened without one.
func OpenObject(ctx context.Context, store Store, name string) (*Recording, error) {
	m, sum, noMan := loadManifest(ctx, store, name)
	if noMan != nil && !manifestAtFault(noMan) {
		return nil, noMan
	}
	key := store.Key(name + suffix)
	if m != nil && m.Key == "" {
		// A session without events has a manifest and no recording.
		return &Recording{name: key, src: objectSource{store, key}, manifest: m, saidBy: sum}, nil
	}
	obj, err := store.Head(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return &Recording{name: key, size: obj.Size, etag: obj.ETag, src: objectSource{store, key}, manifest: m, saidBy: sum, noMan: noMan}, nil
}

// manifestAtFault says whether a manifest could not be read because of what it is
// or is not, rather than because of the store.
func manifestAtFault(err error) bool {
	return errors.Is(err, s3store.ErrNotFound) || errors.Is(err, slicefmt.ErrCorrupt) || errors.Is(err, slicefmt.ErrVersion)
}

func readManifest(ctx context.Context, store Store, name string) (*slicefmt.Manifest, error) {
	m, _, err := loadManifest(ctx, store, name)
	return m, err
}

// loadManifest reads a manifest, and gives the hash of its bytes as they are stored.
func loadManifest(ctx context.Context, store Store, name string) (m *slicefmt.Manifest, sum [sha256.Size]byte, err error) {
	key := store.Key(name + manifestSuffix)
	body, err := store.Get(ctx, key)
	if err != nil {
		return nil, sum, fmt.Errorf("read manifest: %w", err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, slicefmt.MaxManifest+1))
	if err != nil {
		return nil, sum, fmt.Errorf("read manifest %s: %w", key, err)
	}
	if m, err = slicefmt.ParseManifest(data); err != nil {
		return nil, sum, fmt.Errorf("read %s: %w", key, err)
	}
	return m, sha256.Sum256(data), nil
}

type objectSource struct {
	store Store
	key   string
}

func (s objectSource) open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return s.store.GetRange(ctx, s.key, off, n)
}
