package seekindex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Up to putWhole an index is stored with one request, and above in parts of
// partSize or more.
const (
	putWhole = 8 << 20
	partSize = 8 << 20
	maxParts = 9_000
)

// Make builds the index of a session and stores it, in place of one that is there.
// A crash on the way leaves the old index, none, or the new one.
func Make(ctx context.Context, rec *recording.Recording, store WriteStore, sid string) (size int64, err error) {
	f, err := os.CreateTemp("", "tapedeck-index-*")
	if err != nil {
		return 0, fmt.Errorf("index %s: %w", sid, err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := Build(ctx, rec, f); err != nil {
		return 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err == nil {
		err = put(ctx, store, store.Key(sid+Suffix), f, size)
	}
	if err != nil {
		return 0, fmt.Errorf("store index of %s: %w", sid, err)
	}
	return size, nil
}

func put(ctx context.Context, store WriteStore, key string, f *os.File, size int64) error {
	if size <= putWhole {
		body := make([]byte, size)
		if _, err := f.ReadAt(body, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return store.Put(ctx, key, body, false)
	}
	if err := store.Delete(ctx, key); err != nil { // completing an upload replaces nothing
		return err
	}
	id, err := store.CreateUpload(ctx, key, nil)
	if err != nil {
		return err
	}
	err = upload(ctx, store, key, id, f, size)
	if errors.Is(err, s3store.ErrExists) {
		return nil // another worker was quicker, with the same bytes
	}
	if err != nil {
		return errors.Join(err, store.AbortUpload(context.WithoutCancel(ctx), key, id))
	}
	return nil
}

func upload(ctx context.Context, store WriteStore, key, id string, f *os.File, size int64) error {
	body := make([]byte, max(partSize, size/maxParts+1))
	var parts []s3store.Part
	for off := int64(0); off < size; off += int64(len(body)) {
		n, err := f.ReadAt(body[:min(int64(len(body)), size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p, err := store.PutPart(ctx, key, id, len(parts)+1, body[:n])
		if err != nil {
			return err
		}
		parts = append(parts, p)
	}
	_, err := store.CompleteUpload(ctx, key, id, parts)
	return err
}
