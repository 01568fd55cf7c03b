// Package seekindex makes and reads the seek index that lies beside a finished
// recording: pictures of the screen to jump to, what the seek bar shows, and a
// transcript that can be searched. With it a jump reads one picture and the few
// events behind it instead of all that came before.
//
// An index is derived. It is made by reading the recording once ([Build]), the
// same recording gives the same bytes, and one that is lost, changed, of another
// version or of another recording is made anew ([Worker]). Nothing needs it: who finds
// none begins at the recording's start.
//
// docs/index.md has the format byte by byte.
//
// # What may be relied on
//
// Building holds a screen, a picture and lists whose lengths are bounded by
// constants, whatever the recording's length; pictures wait in a temporary file.
// Output that would take more work to draw than its length allows is not drawn to its
// end, and the timeline says from when on. What is written is within what is read.
//
// Reading checks every length before it allocates and the checksum of everything
// before it is given away, and takes two requests for the first picture: one for the
// front of the index, one for the picture.
package seekindex

import (
	"context"
	"errors"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Version is the version of indexes that this package writes, and the only one it
// reads.
const Version = 2

// Suffix of an index's name, behind the session id.
const Suffix = ".index"

// Errors that a caller can test for.
var (
	// ErrNotFound: the recording has no index.
	ErrNotFound = errors.New("no seek index")
	// ErrVersion: the index is of another version. It is to be made anew.
	ErrVersion = errors.New("seek index is of another version")
	// ErrCorrupt: the index contradicts itself or a checksum. It is to be made anew.
	ErrCorrupt = errors.New("seek index is corrupt")
	// ErrTooLong: making the index took too long, and was given up.
	ErrTooLong = errors.New("making the index takes too long")
	// ErrNoKeyframe: there is no picture at or before that time.
	ErrNoKeyframe = errors.New("no keyframe there")
)

// A Store is where indexes are read from. [s3store.Store] is one.
type Store interface {
	// Key is the full key of an object, for its name.
	Key(name string) string
	// GetRange opens n bytes from offset off on, or fewer if the object ends
	// before. Its error wraps [s3store.ErrNotFound] if there is no object and
	// [s3store.ErrRange] if off is at or beyond its end.
	GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
}

// A WriteStore is a Store that indexes are written to.
type WriteStore interface {
	Store
	// Put stores an object, in place of one that is there unless ifAbsent.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) error
	// Delete removes an object; there need not be one.
	Delete(ctx context.Context, key string) error
	// The multipart upload, for indexes that are too large for one request.
	CreateUpload(ctx context.Context, key string, meta map[string]string) (uploadID string, err error)
	PutPart(ctx context.Context, key, uploadID string, n int, body []byte) (s3store.Part, error)
	CompleteUpload(ctx context.Context, key, uploadID string, parts []s3store.Part) (etag string, err error)
	AbortUpload(ctx context.Context, key, uploadID string) error
}
