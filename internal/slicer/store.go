package slicer

import (
	"context"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A PartStore keeps the parts of multipart uploads, and the messages that have no
// place in a recording. Its methods may be called from several goroutines. They
// retry what a retry can mend within seconds; the slicer goes on for ever.
// [s3store.Store] is one.
type PartStore interface {
	// Key is the full key of an object, for its name.
	Key(name string) string

	// CreateUpload begins a multipart upload whose object will have meta as its
	// metadata. When its reply is lost an upload may exist that nobody knows; it
	// holds nothing and is aborted by whoever cleans up.
	CreateUpload(ctx context.Context, key string, meta map[string]string) (uploadID string, err error)

	// PutPart stores body as part n (1 to 10,000) of the upload. It does not keep
	// body. When it returns nil the part is durable. When it returns an error the
	// part may or may not be stored; putting the same bytes under the same number
	// again is safe. Its error wraps [s3store.ErrUploadGone] if the upload takes
	// no more.
	PutPart(ctx context.Context, key, uploadID string, n int, body []byte) (s3store.Part, error)

	// Get reads an object from its first byte, or fails with [s3store.ErrNotFound].
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// Put stores an object; it is durable when Put returns nil. Putting the same
	// bytes again is safe.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) error
}
