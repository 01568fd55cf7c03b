package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/export"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func (s *Server) cast(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	version := p.choice("version", "2", "2", "3")
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	s.write(w, r, v, "cast"+version)
}

// exported is what each format is called and of what type.
var exported = map[string]struct{ contentType, suffix string }{
	export.Cast2: {typeCast, ".cast"},
	export.Cast3: {typeCast, ".cast"},
	export.Text:  {"text/plain; charset=utf-8", ".txt"},
	export.JSON:  {typeNDJSON, ".jsonl"},
}

func (s *Server) export(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	format := p.choice("format", "", export.Cast2, export.Cast3, export.Text, export.JSON, export.PNG, export.GIF, export.MP4)
	if format == "" {
		p.bad("format: say which: cast2, cast3, text, json, png, gif or mp4.")
	}
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	if exported[format].suffix == "" {
		s.film(w, r, v, format)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="`+v.Session.Session+exported[format].suffix+`"`)
	s.write(w, r, v, format)
}

// write writes a recording in another format.
func (s *Server) write(w http.ResponseWriter, r *http.Request, v *view, format string) {
	if v.Kind == sessions.Desktop && format != export.JSON {
		s.fail(w, cast.ErrDesktop)
		return
	}
	rd := s.open(w, r, v, format)
	if rd == nil {
		return
	}
	defer rd.done()
	w.Header().Set("Content-Type", exported[format].contentType)
	w.Header().Set("Trailer", trailerDamage)
	begun := &begun{Writer: w}
	var damage error
	_, err := export.Write(begun, stopAtDamage(rd.rec.Records(r.Context(), recording.Range{}), &damage), export.Options{Format: format, WithData: true})
	if err != nil && !begun.yes {
		w.Header().Del("Trailer")
		s.fail(w, err)
		return
	}
	if err != nil {
		s.abort(r.Context(), err)
	}
	setDamage(w, damage)
}

// begun knows whether anything was written.
type begun struct {
	io.Writer
	yes bool
}

func (b *begun) Write(p []byte) (int, error) { b.yes = true; return b.Writer.Write(p) }

// stopAtDamage ends the records where they are damaged, and says so.
func stopAtDamage(all iter.Seq2[slicefmt.Record, error], damage *error) iter.Seq2[slicefmt.Record, error] {
	return func(yield func(slicefmt.Record, error) bool) {
		for rec, err := range all {
			if err != nil && damaged(err) {
				*damage = err
				return
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, v *view) {
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer done()
	m, why := rec.Manifest()
	if m == nil {
		s.fail(w, &problem{http.StatusNotFound, "no_manifest", "There is no manifest: " + oneLine(why.Error())})
		return
	}
	if !s.fresh(w, r, rec) {
		return
	}
	data, err := m.Marshal()
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}

// recording sends the recording as it is stored, whole or in ranges.
func (s *Server) recording(w http.ResponseWriter, r *http.Request, v *view) {
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer done()
	if rec.FromBus() || rec.Size() == 0 {
		s.fail(w, &problem{http.StatusConflict, "not_finished", "There is no finished recording of this session; export it to get what there is of it."})
		return
	}
	if err := s.looked(r.Context(), v, lookStored); err != nil {
		s.fail(w, err)
		return
	}
	if !s.fresh(w, r, rec) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-tapedeck-recording")
	h.Set("Content-Disposition", `attachment; filename="`+v.Session.Session+`.tar"`)
	body := &stored{ctx: r.Context(), store: s.lib.Store, key: rec.Name(), size: rec.Size()}
	defer body.close()
	http.ServeContent(w, r, "", time.Time{}, body)
}

// stored is an object as what http.ServeContent wants: it is opened where reading
// begins, and from there on.
type stored struct {
	ctx   context.Context
	store recording.Store
	key   string
	size  int64
	at    int64
	body  io.ReadCloser
}

func (b *stored) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += b.at
	case io.SeekEnd:
		off += b.size
	}
	if off < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if off != b.at {
		b.close()
	}
	b.at = off
	return off, nil
}

func (b *stored) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.body == nil {
		body, err := b.store.GetRange(b.ctx, b.key, b.at, b.size-b.at)
		if err != nil {
			return 0, err
		}
		b.body = body
	}
	n, err := b.body.Read(p)
	b.at += int64(n)
	return n, err
}

func (b *stored) close() {
	if b.body != nil {
		_ = b.body.Close()
		b.body = nil
	}
}

// maxRaw is the most bytes of output that one call gives.
const maxRaw = 5 << 20

// raw sends the terminal's output as bytes, from an offset on.
func (s *Server) raw(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	offset, limit := p.number("offset", 0, 1<<50), p.number("limit", maxRaw, maxRaw)
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	rd := s.open(w, r, v, lookPage)
	if rd == nil {
		return
	}
	defer rd.done()
	if err := s.sendRaw(r.Context(), w, rd, offset, limit); err != nil {
		s.fail(w, err)
	}
}

func (s *Server) sendRaw(ctx context.Context, w http.ResponseWriter, rd *reading, offset, limit int64) error {
	from, at, err := rawStart(ctx, rd.rec, offset)
	if err != nil {
		return err
	}
	rd.span = span{fromIndex: from, toIndex: -1, toMS: -1}
	w.Header().Set("Content-Type", typeBytes)
	sent, begun := int64(0), false
	damage, err := rd.each(ctx, func(rec slicefmt.Record) error {
		if rec.Case != casePrint {
			return nil
		}
		one, err := events.Unmarshal(rec.OneOf)
		if err != nil {
			return fmt.Errorf("decode event %d: %w", rec.Index, err)
		}
		data := one.GetSessionPrint().GetData()
		skip := min(max(offset-at, 0), int64(len(data)))
		at += int64(len(data))
		data = data[skip:]
		data = data[:min(int64(len(data)), limit-sent)]
		if sent == limit && at > offset {
			return errEnough
		}
		if len(data) == 0 {
			return nil
		}
		begun = true
		sent += int64(len(data))
		_, err = w.Write(data)
		return err
	})
	switch {
	case begun && err != nil:
		s.abort(ctx, err)
	case err != nil:
		return err
	case !begun && damage != nil:
		return damage
	case !begun && limit > 0 && offset > at:
		return &problem{http.StatusRequestedRangeNotSatisfiable, "range", fmt.Sprintf("offset: the output has %d bytes.", at)}
	}
	return nil
}

// rawStart is where to begin to read for an offset in the output: an index and the
// offset of the first print from there on. Prints say their offsets, so the part is
// found by looking at the first print of a few; a recording whose prints do not say
// is read from its beginning.
func rawStart(ctx context.Context, rec *recording.Recording, offset int64) (index, at int64, err error) {
	m, _ := rec.Manifest()
	if m == nil || offset == 0 {
		return 0, 0, nil
	}
	lo, hi := 0, len(m.Parts) // the answer is in [lo, hi)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		p := m.Parts[mid]
		i, o, err := firstPrint(ctx, rec, recording.Range{FromIndex: p.FirstIndex, ToIndex: p.LastIndex + 1})
		if err != nil {
			return 0, 0, err
		}
		if i >= 0 && o > 0 && o <= offset {
			lo, index, at = mid, i, o
		} else {
			hi = mid
		}
	}
	return index, at, nil
}

// firstPrint is the first print of a range and its offset; -1 if there is none.
func firstPrint(ctx context.Context, rec *recording.Recording, g recording.Range) (index, offset int64, err error) {
	for r, err := range rec.Records(ctx, g) {
		if err != nil {
			return 0, 0, err
		}
		if r.Case != casePrint {
			continue
		}
		one, err := events.Unmarshal(r.OneOf)
		if err != nil {
			return 0, 0, fmt.Errorf("decode event %d: %w", r.Index, err)
		}
		return r.Index, one.GetSessionPrint().GetOffset(), nil
	}
	return -1, 0, nil
}
