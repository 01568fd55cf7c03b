// Package recording finds sessions and reads their recordings, wherever they are.
//
// A [Library] knows the sessions of an installation: finished ones from their
// manifests in S3, those that run or are being finished from the bus. A
// [Recording] is one of them, open for reading: an object in S3, a file, or what
// the bus holds. [Verify] checks one against its manifest, [Compare] compares two
// event for event, and [Rebuild] makes a recording anew from the bus.
//
// With a manifest a range of events is read by downloading the parts that it lies
// in and no others. Without one everything before the range is read too; nothing
// else needs a manifest.
//
// Nothing here changes what is on the bus or in a finished recording.
package recording

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Errors that a caller can test for.
var (
	// ErrNotFound: nothing is known of the session, neither in S3 nor on the bus.
	ErrNotFound = errors.New("no such session")
	// ErrNotOnBus: the bus holds no event of the session (any more).
	ErrNotOnBus = errors.New("nothing of the session is on the bus")
	// ErrRunning: the session is not over, and what was asked for needs it to be.
	ErrRunning = errors.New("session is not over")
)

// A Store is where finished recordings are. Its methods may be called from
// several goroutines, and retry what a retry can mend. [s3store.Store] is one.
type Store interface {
	// Key is the full key of an object, for its name.
	Key(name string) string

	// Head returns what the store says of an object. Its error wraps
	// [s3store.ErrNotFound] if there is none.
	Head(ctx context.Context, key string) (s3store.Object, error)

	// GetRange opens n bytes from offset off on, or fewer if the object ends
	// before. Its error wraps [s3store.ErrRange] if off is at or beyond the end,
	// and [s3store.ErrNotFound] if there is no object.
	GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Get opens an object. Its error wraps [s3store.ErrNotFound] if there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// ListFolder yields the objects whose key begins with prefix, has no slash
	// after it and sorts after after, ordered by key. After an error it yields
	// nothing more.
	ListFolder(ctx context.Context, prefix, after string) iter.Seq2[s3store.Object, error]
}

// An UploadStore is a Store that a recording can be written to.
type UploadStore interface {
	Store

	// CreateUpload begins a multipart upload of an object with meta as metadata.
	CreateUpload(ctx context.Context, key string, meta map[string]string) (uploadID string, err error)

	// PutPart stores body as part n of the upload; it is durable when PutPart
	// returns nil. It does not keep body.
	PutPart(ctx context.Context, key, uploadID string, n int, body []byte) (s3store.Part, error)

	// CompleteUpload makes the object of the parts. It never replaces an object:
	// its error wraps [s3store.ErrExists] if there is one.
	CompleteUpload(ctx context.Context, key, uploadID string, parts []s3store.Part) (etag string, err error)

	// AbortUpload drops an upload and its parts.
	AbortUpload(ctx context.Context, key, uploadID string) error

	// Put stores an object. With ifAbsent it never replaces one.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) error
}
