package recording

import (
	"context"
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
	m, noMan := readManifest(ctx, store, name)
	if noMan != nil && !manifestAtFault(noMan) {
		return nil, noMan
	}
	key := store.Key(name + suffix)
	if m != nil && m.Key == "" {
		// A session without events has a manifest and no recording.
		return &Recording{name: key, src: objectSource{store, key}, manifest: m}, nil
	}
	obj, err := store.Head(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return &Recording{name: key, size: obj.Size, src: objectSource{store, key}, manifest: m, noMan: noMan}, nil
}

// manifestAtFault says whether a manifest could not be read because of what it is
// or is not, rather than because of the store.
func manifestAtFault(err error) bool {
	return errors.Is(err, s3store.ErrNotFound) || errors.Is(err, slicefmt.ErrCorrupt) || errors.Is(err, slicefmt.ErrVersion)
}

func readManifest(ctx context.Context, store Store, name string) (*slicefmt.Manifest, error) {
	key := store.Key(name + manifestSuffix)
	body, err := store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, slicefmt.MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", key, err)
	}
	m, err := slicefmt.ParseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return m, nil
}

type objectSource struct {
	store Store
	key   string
}

func (s objectSource) open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return s.store.GetRange(ctx, s.key, off, n)
}
