package recording

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Suffixes of the names of recordings and manifests.
const (
	suffix         = ".tar"
	manifestSuffix = ".manifest.json"
)

// A Range is some of a recording's events: those that all of its members allow.
// The zero Range is all events.
type Range struct {
	FromIndex int64 // the first index
	ToIndex   int64 // the first index that is not in it; 0 for no limit
	FromTime  time.Time
	ToTime    time.Time // the last moment that is in it
}

func (g Range) has(rec slicefmt.Record) bool {
	if rec.Index < g.FromIndex || g.ToIndex > 0 && rec.Index >= g.ToIndex {
		return false
	}
	if g.FromTime.IsZero() && g.ToTime.IsZero() {
		return true
	}
	at := rec.Time()
	return !at.Before(g.FromTime) && (g.ToTime.IsZero() || !at.After(g.ToTime))
}

// over says that nothing from rec on is in the range. Times are no help: a clock
// may have been set back.
func (g Range) over(rec slicefmt.Record) bool { return g.ToIndex > 0 && rec.Index >= g.ToIndex }

// A Recording is open for reading. It is not safe for concurrent use.
type Recording struct {
	name     string
	size     int64
	etag     string            // of the object; "" if it is none
	saidBy   [sha256.Size]byte // of the manifest as it is stored; zero without one
	src      source            // nil if it is read from the bus
	bus      *busReader
	manifest *slicefmt.Manifest
	noMan    error
	counts   slicefmt.Counts
	onRead   func(n int)
	closer   io.Closer
}

// A source is the stored bytes of a recording.
type source interface {
	// open opens n bytes from off on, or fewer if there are not as many.
	open(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Name is where the recording is read from: a path, a key, or the bus.
func (r *Recording) Name() string { return r.name }

// Size is the stored bytes; 0 if the recording is read from the bus.
func (r *Recording) Size() int64 { return r.size }

// An Identity tells a recording from any other that is or was kept under its name.
type Identity [sha256.Size]byte

// Identity is made of what the store says of the object without reading it and of
// what its manifest says, so whatever was derived from another of the same size,
// of this one before it was mended, or without its manifest, is known by it. Of a
// file there is the size and the manifest only.
func (r *Recording) Identity() Identity {
	return sha256.Sum256(fmt.Appendf(nil, "%d %q %x", r.size, r.etag, r.saidBy))
}

// Manifest is the recording's manifest, or nil and why there is none.
func (r *Recording) Manifest() (*slicefmt.Manifest, error) { return r.manifest, r.noMan }

// Counts is what the last Records counted, over as much as it read.
func (r *Recording) Counts() slicefmt.Counts { return r.counts }

// FromBus says whether the events come from the bus, which may hold fewer than
// there were.
func (r *Recording) FromBus() bool { return r.bus != nil }

// OnRead has f called with the number of stored bytes of each read, for a
// progress bar over Size.
func (r *Recording) OnRead(f func(n int)) { r.onRead = f }

// Close lets go of what the recording holds open.
func (r *Recording) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Records yields the events of a range in order, each until the next is asked for.
// An error ends it and comes last; it is a *slicefmt.PartError where the recording
// itself is at fault, and all events before the damage have been yielded.
//
// With a manifest only the parts that the range lies in are read, one request a
// part, as the events are asked for.
func (r *Recording) Records(ctx context.Context, g Range) iter.Seq2[slicefmt.Record, error] {
	return func(yield func(slicefmt.Record, error) bool) {
		if r.bus != nil {
			r.bus.records(ctx, g, yield)
			r.counts = r.bus.counts
			return
		}
		body, first := r.openRange(ctx, g)
		defer body.Close()
		zr := slicefmt.NewReader(body)
		if first != nil {
			zr.StartAt(first.ordinal, first.Offset, first.FirstIndex)
		}
		defer func() { r.counts = zr.Counts() }()
		for {
			rec, err := zr.Next()
			if ctx.Err() != nil { // what is read ahead may be many records
				err = ctx.Err()
			}
			if isEOF(err) {
				return
			}
			if err != nil {
				yield(slicefmt.Record{}, fmt.Errorf("read %s: %w", r.name, err))
				return
			}
			if g.over(rec) || g.has(rec) && !yield(rec, nil) {
				return
			}
		}
	}
}

// OpenFile opens a recording in a file, with the manifest that lies beside it as
// it would in S3, if one does.
func OpenFile(path string) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r := &Recording{name: path, size: info.Size(), src: fileSource{f}, closer: f}
	r.manifest, r.noMan = readManifestFile(strings.TrimSuffix(path, suffix) + manifestSuffix)
	return r, nil
}

func readManifestFile(path string) (*slicefmt.Manifest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	if info.Size() > slicefmt.MaxManifest {
		return nil, fmt.Errorf("open manifest %s: %w: %d bytes", filepath.Base(path), slicefmt.ErrCorrupt, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	m, err := slicefmt.ParseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("open manifest %s: %w", filepath.Base(path), err)
	}
	return m, nil
}

type fileSource struct{ f *os.File }

func (s fileSource) open(_ context.Context, off, n int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.f, off, n)), nil
}
