package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Get opens an object for reading; the caller closes it. Its error wraps
// [ErrNotFound] if there is none. When the connection breaks while the body is
// read, reading goes on where it broke, in the same object or not at all: if it
// was replaced meanwhile, Read returns an error.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	return s.open(ctx, key, 0, -1)
}

// GetRange opens n bytes of an object from offset off on for reading, or fewer
// if the object ends before; the caller closes it. Its error wraps [ErrRange]
// if off is at or beyond the end, [ErrNotFound] if there is no such object.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 1 {
		return nil, fmt.Errorf("get %s: %d bytes from %d: %w", key, n, off, ErrRange)
	}
	return s.open(ctx, key, off, n)
}

// ReaderAt reads an object of the given size with one request a ReadAt, so it
// wants few and large reads. It may be used from several goroutines. Reads end
// when ctx does.
func (s *Store) ReaderAt(ctx context.Context, key string, size int64) io.ReaderAt {
	return &readerAt{ctx: ctx, store: s, key: key, size: size}
}

type readerAt struct {
	ctx   context.Context
	store *Store
	key   string
	size  int64
}

func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("read %s at %d: %w", r.key, off, ErrRange)
	case len(p) == 0:
		return 0, nil
	case off >= r.size:
		return 0, io.EOF
	}
	want := min(int64(len(p)), r.size-off)
	body, err := r.store.GetRange(r.ctx, r.key, off, want)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p[:want])
	if err == nil && want < int64(len(p)) {
		err = io.EOF
	}
	return n, err
}

// A resuming body reads an object, or the range of it from off up to end, and
// asks for the rest when the connection breaks. The SDK retries requests but
// not bodies, so no two layers retry the same thing.
type resuming struct {
	ctx   context.Context
	store *Store
	key   string
	etag  string
	body  io.ReadCloser
	off   int64 // of the next byte
	end   int64 // exclusive; -1 until known
	left  int   // resumptions left
	err   error // the first one, returned again
}

func (s *Store) open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r := &resuming{ctx: ctx, store: s, key: key, off: off, end: -1, left: s.opt.Attempts - 1}
	if n >= 0 {
		r.end = off + n
	}
	if err := r.request(); err != nil {
		if n >= 0 {
			return nil, wrap(err, "get %d bytes of %s from %d", n, key, off)
		}
		return nil, wrap(err, "get %s", key)
	}
	return r, nil
}

func (r *resuming) request() error {
	in := &s3.GetObjectInput{Bucket: &r.store.opt.Bucket, Key: &r.key}
	switch {
	case r.end >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.off, r.end-1))
	case r.off > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.off))
	}
	if r.etag != "" {
		in.IfMatch = aws.String(`"` + r.etag + `"`)
	}
	out, err := r.store.client.GetObject(r.ctx, in)
	if err != nil {
		return err
	}
	r.body, r.etag = out.Body, unquote(out.ETag)
	// A range may end before it was asked to; the answer's length says where.
	if out.ContentLength != nil {
		r.end = r.off + *out.ContentLength
	}
	return nil
}

func (r *resuming) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	for {
		n, err := r.body.Read(p)
		r.off += int64(n)
		switch {
		case err == nil:
			return n, nil
		case err == io.EOF && r.off >= r.end:
			r.err = io.EOF
			return n, r.err
		case n > 0:
			return n, nil // the next Read meets the error again
		}
		if r.err = r.resume(err); r.err != nil {
			return 0, r.err
		}
	}
}

func (r *resuming) resume(why error) error {
	if errors.Is(why, io.EOF) {
		why = io.ErrUnexpectedEOF
	}
	if r.left == 0 || r.ctx.Err() != nil || r.off >= r.end {
		return wrap(why, "read %s at %d of %d", r.key, r.off, r.end)
	}
	r.left--
	end := r.end
	_ = r.body.Close()
	if err := r.request(); err != nil {
		if errors.Is(classify(err), ErrExists) { // If-Match: it is another object by now
			err = errors.New("object was replaced while it was read")
		}
		return wrap(err, "read %s at %d of %d", r.key, r.off, end)
	}
	return nil
}

func (r *resuming) Close() error {
	if r.err == nil {
		r.err = errors.New("read of a closed body")
	}
	return r.body.Close()
}
