package completer

import (
	"context"
	"io"
	"iter"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// An ObjectStore is where recordings are made and kept. Its methods may be called
// from several goroutines; each retries only what mends itself within seconds. When
// one returns any other error than those named, what it was to do may be done.
type ObjectStore interface {
	Uploads
	Objects
}

// Uploads is what is done with multipart uploads.
type Uploads interface {
	// CompleteUpload makes the object key of exactly these parts, durably, and
	// never replaces an object: then its error wraps s3store.ErrExists. It wraps
	// ErrUploadGone if the upload is not there, also if it was completed before,
	// and ErrBadPart if a part is missing or has another ETag.
	CompleteUpload(ctx context.Context, key, uploadID string, parts []s3store.Part) (etag string, err error)
	// ListParts lists the parts that are stored, or fails with ErrUploadGone.
	ListParts(ctx context.Context, key, uploadID string) ([]s3store.Part, error)
	// AbortUpload drops an upload and its parts. One that is gone is no error.
	AbortUpload(ctx context.Context, key, uploadID string) error
	// ListUploads lists uploads that are neither completed nor aborted.
	ListUploads(ctx context.Context, prefix string) iter.Seq2[s3store.Upload, error]
	// CreateUpload begins an upload whose object will carry meta.
	CreateUpload(ctx context.Context, key string, meta map[string]string) (uploadID string, err error)
	// PutPart stores a part, durably when it returns nil. The same bytes may be
	// put again.
	PutPart(ctx context.Context, key, uploadID string, n int, body []byte) (s3store.Part, error)
}

// Objects is what is done with finished objects.
type Objects interface {
	// Head describes an object, or fails with s3store.ErrNotFound.
	Head(ctx context.Context, key string) (s3store.Object, error)
	// Put stores a small object, durably when it returns nil.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) error
	// GetRange reads n bytes from off. The caller closes it.
	GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// Key is the full key of a name: the installation's prefix comes before it.
	Key(name string) string
}
