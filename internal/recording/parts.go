package recording

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// isEOF says whether a reader has come to its end. It says so with io.EOF itself:
// an error around it, such as that of a connection that was closed, is no end.
func isEOF(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// A numbered part is a part of a manifest and the how-manieth it is, from 1.
type numbered struct {
	slicefmt.ManifestPart
	ordinal int
}

// openRange opens what has to be read for a range. first is the part that it
// begins with, or nil if it is the recording's beginning. The manifest is trusted
// only as far as it agrees with the size of what is there.
func (r *Recording) openRange(ctx context.Context, g Range) (body io.ReadCloser, first *numbered) {
	p := &parts{ctx: ctx, r: r}
	m := r.manifest
	if m == nil || m.Bytes != r.size {
		if r.size > 0 {
			p.left = []numbered{{slicefmt.ManifestPart{Bytes: r.size}, 1}}
		}
		return p, nil
	}
	p.left = choose(m.Parts, g)
	if len(p.left) > 0 {
		first = &p.left[0]
	}
	return p, first
}

// choose is the run of parts that has all parts which may hold events of g.
func choose(all []slicefmt.ManifestPart, g Range) []numbered {
	var run []numbered
	needed := 0
	for i, p := range all {
		holds := p.LastIndex >= g.FromIndex && (g.ToIndex == 0 || p.FirstIndex < g.ToIndex) && timesMeet(p, g)
		if !holds && len(run) == 0 {
			continue
		}
		run = append(run, numbered{p, i + 1})
		if holds {
			needed = len(run)
		}
	}
	return run[:needed]
}

// timesMeet says whether a part may hold events of the range's times. A clock that
// was set back shows as an end before the beginning, and then nothing is known.
func timesMeet(p slicefmt.ManifestPart, g Range) bool {
	if p.LastEvent.Before(p.FirstEvent) {
		return true
	}
	return !p.LastEvent.Before(g.FromTime) && (g.ToTime.IsZero() || !p.FirstEvent.After(g.ToTime))
}

// parts reads parts one after the other. Each is opened when it is needed, so a
// reader that stops early downloads no more.
type parts struct {
	ctx  context.Context
	r    *Recording
	left []numbered
	body io.ReadCloser
	got  int64 // of the first part left
}

func (p *parts) Read(b []byte) (int, error) {
	for len(p.left) > 0 {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		part := p.left[0]
		if p.body == nil {
			if err := p.open(part); err != nil {
				return 0, err
			}
		}
		n, err := p.body.Read(b)
		p.got += int64(n)
		if p.r.onRead != nil && n > 0 {
			p.r.onRead(n)
		}
		if n > 0 || err == nil {
			return n, nil
		}
		if !isEOF(err) {
			return 0, err
		}
		if p.got < part.Bytes {
			p.left = nil // the recording ends here, whatever the manifest says
			return 0, io.EOF
		}
		p.body.Close()
		p.body, p.got, p.left = nil, 0, p.left[1:]
	}
	return 0, io.EOF
}

func (p *parts) open(part numbered) error {
	body, err := p.r.src.open(p.ctx, part.Offset, part.Bytes)
	if errors.Is(err, s3store.ErrRange) {
		return fmt.Errorf("%w: it ends before byte %d: %w", slicefmt.ErrTruncated, part.Offset, err)
	}
	if err != nil {
		return err
	}
	p.body, p.got = body, 0
	return nil
}

// Close closes what is open.
func (p *parts) Close() error {
	p.left = nil
	if p.body == nil {
		return nil
	}
	return p.body.Close()
}
