package web

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"os"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/export"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/video"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A film is made at 10 frames a second, and its pauses are shortened to 2 s: it is
// for showing, the recording is for looking.
const (
	filmRate = 10
	filmIdle = 2 * time.Second
)

// films is how many films are made at a time: each takes a processor.
const films = 1

// film sends a picture or a film of a recording.
func (s *Server) film(w http.ResponseWriter, r *http.Request, v *view, format string) {
	p := params{q: r.URL.Query()}
	at := time.Duration(p.number("at_ms", 0, maxMS)) * time.Millisecond
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	// Whoever waits for another's film holds up no reader meanwhile.
	select {
	case s.films <- struct{}{}:
		defer func() { <-s.films }()
	case <-r.Context().Done():
		return
	}
	rd := s.open(w, r, v, format)
	if rd == nil {
		return
	}
	defer rd.done()
	err := s.makeFilm(w, r, v, rd, format, at)
	if errors.Is(err, video.ErrNothing) {
		err = &problem{http.StatusNotFound, "no_picture", "Nothing was on the screen up to then."}
	}
	if err != nil {
		s.fail(w, err)
	}
}

func (s *Server) makeFilm(w http.ResponseWriter, r *http.Request, v *view, rd *reading, format string, at time.Duration) error {
	var damage error
	open := func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return stopAtDamage(rd.rec.Records(ctx, recording.Range{}), &damage)
	}
	if format == export.PNG {
		return s.picture(w, r, v, rd, at, open)
	}
	f, err := os.CreateTemp("", "tapedeck-film-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	o := video.Options{Rate: filmRate, MaxIdle: filmIdle}
	kind, suffix := "image/gif", ".gif"
	switch {
	case format == export.GIF:
		err = video.GIF(r.Context(), f, open, o)
	case video.HasFFmpeg():
		kind, suffix = "video/mp4", ".mp4"
		err = video.MP4(r.Context(), f, open, o)
	default:
		kind, suffix = "video/x-msvideo", ".avi"
		err = video.AVI(r.Context(), f, open, o)
	}
	if err != nil {
		return err
	}
	attach(w, v, kind, suffix)
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

func attach(w http.ResponseWriter, v *view, contentType, suffix string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+v.Session.Session+suffix+`"`)
}

// picture sends the screen at a time, from the newest picture of the index on if
// there is one.
func (s *Server) picture(w http.ResponseWriter, r *http.Request, v *view, rd *reading, at time.Duration, open video.Open) error {
	index, err := s.indexes.of(r.Context(), v.Session.Session, rd.rec)
	if err != nil {
		return err
	}
	var from *video.Keyframe
	if index != nil {
		f, err := index.Keyframe(r.Context(), at.Milliseconds())
		if err != nil && !errors.Is(err, seekindex.ErrNoKeyframe) {
			return err
		}
		if err == nil {
			from = &video.Keyframe{At: time.Duration(f.TMS) * time.Millisecond, Zero: rd.clock.zero, Width: f.Cols, Height: f.Rows,
				Screen: f.Data, PNG: f.PNG, Clock: f.Clock}
			open = func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
				return rd.rec.Records(ctx, recording.Range{FromIndex: f.Index + 1})
			}
		}
	}
	attach(w, v, "image/png", ".png")
	return video.PNG(r.Context(), w, open, from, at)
}
