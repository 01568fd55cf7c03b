package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/export"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/video"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

type filmFlags struct {
	At      *time.Duration `help:"With png: the moment, since the start (default: the last picture)." placeholder:"DURATION"`
	Rate    int            `name:"rate" help:"With gif and mp4: frames a second, 1 to 60." default:"10" placeholder:"N"`
	MaxIdle time.Duration  `help:"With gif and mp4: shorten every pause to this." placeholder:"DURATION"`
}

func (c *exportCommand) films() bool {
	return c.Format == export.PNG || c.Format == export.GIF || c.Format == export.MP4
}

func (f filmFlags) validate() error {
	var errs []error
	if f.At != nil && *f.At < 0 {
		errs = append(errs, fmt.Errorf("--at %v is before the start", *f.At))
	}
	if f.Rate < 1 || f.Rate > 60 {
		errs = append(errs, fmt.Errorf("--rate %d is not 1 to 60", f.Rate))
	}
	if f.MaxIdle < 0 {
		errs = append(errs, fmt.Errorf("--max-idle %v is negative", f.MaxIdle))
	}
	return errors.Join(errs...)
}

// film writes a picture or a film.
func (c *exportCommand) film(ctx context.Context, s Streams, rec *opened) error {
	if c.Output == "" && isTerminal(s.Out) {
		return withStatus(exitUsage, errors.New("export: that is binary and standard output is a terminal; say -o FILE"))
	}
	avi := c.Format == export.MP4 && !video.HasFFmpeg()
	if avi {
		if base, ok := strings.CutSuffix(c.Output, ".mp4"); ok {
			c.Output = base + ".avi"
		}
		fmt.Fprintf(s.Err, "tapedeck: ffmpeg is not installed: writing an AVI (motion JPEG) instead of an MP4%s\n", to(c.Output))
	}
	write := func(w io.Writer) error {
		if err := c.draw(ctx, rec, w, avi); err != nil {
			return damage(fmt.Errorf("export as %s: %w", c.Format, err))
		}
		return nil
	}
	if c.Output == "" {
		return write(s.Out)
	}
	return c.toFile(write)
}

func to(file string) string {
	if file == "" {
		return ""
	}
	return ", to " + file
}

func (c *exportCommand) draw(ctx context.Context, rec *opened, w io.Writer, avi bool) error {
	o := video.Options{Rate: c.Rate, MaxIdle: c.MaxIdle}
	open := records(rec, recording.Range{})
	switch c.Format {
	case export.PNG:
		return c.picture(ctx, rec, w)
	case export.GIF:
		return video.GIF(ctx, w, open, o)
	}
	return withTemporary(w, func(f *os.File) error {
		if avi {
			return video.AVI(ctx, f, open, o)
		}
		return video.MP4(ctx, f, open, o)
	})
}

// withTemporary has a film made in a file, which they need, and copies it.
func withTemporary(w io.Writer, film func(*os.File) error) error {
	f, err := os.CreateTemp("", "tapedeck-film-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := film(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// lastMoment is a time that no recording has.
const lastMoment = 1 << 62

// picture writes a PNG, by way of the index if there is one.
func (c *exportCommand) picture(ctx context.Context, rec *opened, w io.Writer) error {
	at := time.Duration(lastMoment)
	if c.At != nil {
		at = *c.At
	}
	open := records(rec, recording.Range{})
	var from *video.Keyframe
	if !c.isFile() && !rec.FromBus() {
		x, err := seekindex.Open(ctx, rec.in.store, c.What)
		if err == nil && x.Of(rec.Recording) { // without one the picture is the same
			if f, err := x.Keyframe(ctx, at.Milliseconds()); err == nil {
				from = &video.Keyframe{At: time.Duration(f.TMS) * time.Millisecond, Zero: f.Zero, Width: f.Cols, Height: f.Rows,
					Screen: f.Data, PNG: f.PNG, Clock: f.Clock}
				open = records(rec, recording.Range{FromIndex: f.Index + 1})
			}
		}
	}
	return video.PNG(ctx, w, open, from, at)
}

func records(rec *opened, g recording.Range) video.Open {
	return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] { return rec.Records(ctx, g) }
}
