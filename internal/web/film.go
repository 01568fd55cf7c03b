package web

import (
	"context"
	"errors"
	"io"
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

// What bounds films.
const (
	films     = 1                // made at a time: each takes a processor
	filmFiles = 4                // kept at a time, while they are made, waited for and sent
	filmBytes = 1 << 30          // of each
	filmTime  = 10 * time.Minute // to make it
)

// film sends a picture or a film of a recording.
func (s *Server) film(w http.ResponseWriter, r *http.Request, v *view, format string) {
	p := params{q: r.URL.Query()}
	at := time.Duration(p.number("at_ms", 0, maxMS)) * time.Millisecond
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	select {
	case s.filmFiles <- struct{}{}:
		defer func() { <-s.filmFiles }()
	case <-r.Context().Done():
		s.fail(w, r.Context().Err()) // whoever lost its token is still there, and would take nothing for a film
		return
	}
	f, err := os.CreateTemp("", "tapedeck-film-*")
	if err != nil {
		s.fail(w, err)
		return
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	suffix, err := s.makeFilm(w, r, v, f, format, at)
	if suffix == "" && err == nil {
		return // it is answered
	}
	if err != nil {
		s.fail(w, filmProblem(err))
		return
	}
	attach(w, v, suffix)
	http.ServeContent(w, r, "", time.Time{}, whileGoing{r.Context(), f})
}

// makeFilm makes a film in a file and says of what kind it is. Whoever takes long to
// download it holds up nobody who wants to make one, and whoever waits for another's to
// be made holds up no reader.
func (s *Server) makeFilm(w http.ResponseWriter, r *http.Request, v *view, f *os.File, format string, at time.Duration) (suffix string, err error) {
	select {
	case s.films <- struct{}{}:
		defer func() { <-s.films }()
	case <-r.Context().Done():
		return "", r.Context().Err()
	}
	rd := s.open(w, r, v, format)
	if rd == nil {
		return "", nil
	}
	defer rd.done()
	ctx, stop := context.WithTimeoutCause(r.Context(), s.filmTime, errFilmTime)
	defer stop()
	var damage error
	records := func(g recording.Range) video.Open {
		return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
			return stopAtDamage(rd.rec.Records(ctx, g), &damage)
		}
	}
	open := records(recording.Range{})
	o := video.Options{Rate: filmRate, MaxIdle: filmIdle, MaxBytes: s.filmBytes}
	switch {
	case format == export.PNG:
		suffix, err = ".png", s.picture(ctx, f, v, rd, at, records)
	case format == export.GIF:
		suffix, err = ".gif", video.GIF(ctx, f, open, o)
	case video.HasFFmpeg():
		suffix, err = ".mp4", video.MP4(ctx, f, open, o)
	default:
		suffix, err = ".avi", video.AVI(ctx, f, open, o)
	}
	if err != nil && errors.Is(context.Cause(ctx), errFilmTime) {
		err = errFilmTime
	}
	return suffix, err
}

// errFilmTime: a recording may be made so that it takes for ever to draw.
var errFilmTime = errors.New("making the film takes too long")

func filmProblem(err error) error {
	switch {
	case errors.Is(err, video.ErrNothing):
		return &problem{http.StatusNotFound, "no_picture", "Nothing was on the screen up to then."}
	case errors.Is(err, video.ErrTooLong), errors.Is(err, errFilmTime):
		return &problem{http.StatusUnprocessableEntity, "too_long", "The film is too long to be made here. 'tapedeck export' makes it, on a machine of yours."}
	}
	return err
}

// whileGoing is a file for as long as who reads it may: sending it looks at nothing else.
type whileGoing struct {
	ctx context.Context
	io.ReadSeeker
}

// Read fails when the request is over.
func (f whileGoing) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.ReadSeeker.Read(p)
}

var filmTypes = map[string]string{".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4", ".avi": "video/x-msvideo"}

func attach(w http.ResponseWriter, v *view, suffix string) {
	w.Header().Set("Content-Type", filmTypes[suffix])
	w.Header().Set("Content-Disposition", `attachment; filename="`+v.Session.Session+suffix+`"`)
}

// picture writes the screen at a time, from the newest picture of the index on if
// there is one.
func (s *Server) picture(ctx context.Context, w io.Writer, v *view, rd *reading, at time.Duration, records func(recording.Range) video.Open) error {
	index, err := s.indexes.of(ctx, v.Session.Session, rd.rec)
	if err != nil {
		return err
	}
	var from *video.Keyframe
	open := records(recording.Range{})
	if index != nil {
		f, err := index.Keyframe(ctx, at.Milliseconds())
		if errors.Is(err, seekindex.ErrCorrupt) { // it is drawn from the start then
			s.mendIndex(v.Session.Session, err)
		} else if err != nil && !errors.Is(err, seekindex.ErrNoKeyframe) {
			return err
		}
		if err == nil {
			from = &video.Keyframe{At: time.Duration(f.TMS) * time.Millisecond, Zero: rd.clock.zero, Width: f.Cols, Height: f.Rows,
				Screen: f.Data, PNG: f.PNG, Clock: f.Clock}
			open = records(recording.Range{FromIndex: f.Index + 1})
		}
	}
	return video.PNG(ctx, w, open, from, at)
}
