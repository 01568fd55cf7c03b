package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

const bufferSize = 32 << 10

// A reading is a range of a session's recording, open for one request.
type reading struct {
	rec   *recording.Recording
	span  span
	clock clock
	done  func()
}

// open opens what a request asks for and says that somebody looks. It answers
// itself, and returns nil, if there is nothing more to do.
func (s *Server) open(w http.ResponseWriter, r *http.Request, v *view, format string) *reading {
	rd, err := s.openReading(w, r, v, format)
	if err != nil {
		s.fail(w, err)
		return nil
	}
	return rd
}

func (s *Server) openReading(w http.ResponseWriter, r *http.Request, v *view, format string) (*reading, error) {
	sp, err := spanOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		return nil, err
	}
	rd := &reading{rec: rec, span: sp, done: done}
	if err := s.looked(r.Context(), v, format); err != nil {
		done()
		return nil, err
	}
	if !s.fresh(w, r, rec) {
		done()
		return nil, nil
	}
	if rd.clock.zero, err = s.start(r.Context(), v, rec); err != nil {
		done()
		return nil, err
	}
	return rd, nil
}

// each calls f with each record of the reading. A recording that is damaged ends
// there: the damage is returned as such, and all before it has been shown.
func (rd *reading) each(ctx context.Context, f func(slicefmt.Record) error) (damage, err error) {
	if rd.span.empty() {
		return nil, nil
	}
	for rec, err := range rd.rec.Records(ctx, rd.span.records(rd.clock.zero)) {
		if err != nil && damaged(err) {
			return err, nil
		}
		if err == nil && rd.span.toMS > 0 && rd.clock.at(rec.Time()) >= rd.span.toMS {
			return nil, nil
		}
		if err == nil {
			err = f(rec)
		}
		if errors.Is(err, errEnough) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

var errEnough = errors.New("enough")

// abort ends an answer that has begun and cannot go on: the connection is cut, so
// that nobody takes it for the whole.
func (s *Server) abort(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.log.Warn("answer was cut off", "err", err)
	}
	panic(http.ErrAbortHandler)
}

func (s *Server) events(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	prints, limit := p.flag("prints", false), p.number("limit", 0, 1<<40)
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	rd := s.open(w, r, v, lookPage)
	if rd == nil {
		return
	}
	defer rd.done()
	w.Header().Set("Content-Type", typeNDJSON)
	out := bufio.NewWriterSize(w, bufferSize)
	var line []byte
	var n int64
	damage, err := rd.each(r.Context(), func(rec slicefmt.Record) error {
		t := rd.clock.at(rec.Time())
		if !prints && (rec.Case == casePrint || rec.Case == caseDesktop) {
			return nil
		}
		var err error
		if line, err = eventLine(line[:0], t, rec); err != nil {
			return err
		}
		if _, err = out.Write(append(line, '\n')); err != nil {
			return err
		}
		if n++; n == limit {
			return errEnough
		}
		return nil
	})
	if damage != nil {
		said, _ := json.Marshal(map[string]string{"error": oneLine(damage.Error()), "code": "damaged"}) // strings can be encoded
		_, _ = out.Write(append(said, '\n'))
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		s.abort(r.Context(), err)
	}
}

// primed is how many events before a range are read for the beginning of a UTF-8
// sequence that ends in it. Producers of ours do not cut one; others may.
const primed = 4

// prime moves the beginning of a range back to where a sequence may have begun,
// but never into a part that the range does not touch.
func (rd *reading) prime() (from int64) {
	from = rd.span.fromIndex
	if from == 0 || rd.span.fromMS > 0 {
		return from
	}
	first := max(from-primed, 0)
	if m, _ := rd.rec.Manifest(); m != nil {
		for _, p := range m.Parts {
			if p.FirstIndex <= from && from <= p.LastIndex {
				first = max(first, p.FirstIndex)
			}
		}
	}
	rd.span.fromIndex = first
	return from
}

func (s *Server) output(w http.ResponseWriter, r *http.Request, v *view) {
	rd := s.open(w, r, v, lookPage)
	if rd == nil {
		return
	}
	defer rd.done()
	from := rd.prime()
	w.Header().Set("Content-Type", typeNDJSON)
	out := bufio.NewWriterSize(w, bufferSize)
	l := liner{clock: rd.clock}
	var line []byte
	last := from
	damage, err := rd.each(r.Context(), func(rec slicefmt.Record) error {
		var err error
		if line, err = l.line(line[:0], rec); err != nil || len(line) == 0 || rec.Index < from {
			return err
		}
		last = rec.Index
		_, err = out.Write(append(line, '\n'))
		return err
	})
	line = line[:0]
	if rd.span.toIndex < 0 && rd.span.toMS < 0 && !rd.rec.FromBus() {
		if line = l.flush(line, last); len(line) > 0 {
			line = append(line, '\n')
		}
	}
	if damage != nil {
		line = append(array(line, l.clock.last, last, "x", []byte(oneLine(damage.Error()))), '\n')
	}
	_, werr := out.Write(line)
	if err = errors.Join(err, werr, out.Flush()); err != nil {
		s.abort(r.Context(), err)
	}
}

func (s *Server) desktop(w http.ResponseWriter, r *http.Request, v *view) {
	rd := s.open(w, r, v, lookPage)
	if rd == nil {
		return
	}
	defer rd.done()
	w.Header().Set("Content-Type", typeBytes)
	w.Header().Set("Trailer", trailerDamage)
	out := bufio.NewWriterSize(w, bufferSize)
	var buf []byte
	damage, err := rd.each(r.Context(), func(rec slicefmt.Record) error {
		t := rd.clock.at(rec.Time())
		if rec.Case != caseDesktop {
			return nil
		}
		var err error
		if buf, err = desktopRecord(buf[:0], t, rec); err != nil {
			return err
		}
		_, err = out.Write(buf)
		return err
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		s.abort(r.Context(), err)
	}
	setDamage(w, damage)
}

// trailerDamage comes after an answer that ends early because the recording is
// damaged there.
const trailerDamage = "Tapedeck-Damage"

func setDamage(w http.ResponseWriter, damage error) {
	if damage != nil {
		w.Header().Set(trailerDamage, oneLine(damage.Error()))
	}
}
