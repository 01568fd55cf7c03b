package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tapedeck-io/tapedeck/internal/export"
	"github.com/tapedeck-io/tapedeck/internal/recording"
)

type exportCommand struct {
	source
	export.Options
	filmFlags
	Output string `short:"o" help:"File to write, instead of standard output. It appears when it is whole." type:"path" placeholder:"FILE"`
	Force  bool   `help:"Replace the file if it is there."`
	target
}

// Help says what pictures and films are like.
func (c *exportCommand) Help() string {
	return `png, gif and mp4 show terminals as well as desktops. Terminals are drawn in Go Mono, which has no CJK and no emoji: those are boxes. mp4 needs
ffmpeg; without it an AVI (motion JPEG) is written instead, under the name with .avi. A gif has 256 colors at most and 10 frames a second.`
}

// Run writes a session or a file in another format.
func (c *exportCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return withStatus(exitUsage, fmt.Errorf("export: %w", err))
	}
	rec, err := c.openRecording(ctx, &c.target, log)
	if err != nil {
		return err
	}
	defer rec.close()
	rec.looked(ctx, c.source, c.Format, log)
	if c.films() {
		return c.film(ctx, s, rec)
	}
	if c.Output == "" {
		if c.Format == export.Recording && isTerminal(s.Out) {
			return withStatus(exitUsage, errors.New("export: a recording is binary and standard output is a terminal; say -o FILE"))
		}
		return c.write(ctx, s, rec, s.Out)
	}
	return c.toFile(func(w io.Writer) error { return c.write(ctx, s, rec, w) })
}

func (c *exportCommand) write(ctx context.Context, s Streams, rec *opened, w io.Writer) error {
	bar := newProgress(s.Err, "exporting", rec.Size(), false)
	defer bar.done()
	rec.OnRead(func(n int) { bar.add(int64(n)) })
	if c.Format == export.Recording && !rec.FromBus() {
		return c.copyStored(ctx, rec, w, bar)
	}
	sum, err := export.Write(w, rec.Records(ctx, recording.Range{}), c.Options)
	bar.done()
	if err != nil {
		return damage(err)
	}
	if sum.Replaced > 0 {
		fmt.Fprintf(s.Err, "tapedeck: %d bytes of output are no UTF-8 and stand as U+FFFD; --format text has them as they were\n", sum.Replaced)
	}
	if sum.Resizes > 0 {
		fmt.Fprintf(s.Err, "tapedeck: %d resize events without a size were left out\n", sum.Resizes)
	}
	if rec.FromBus() {
		fmt.Fprintln(s.Err, "tapedeck: the session is not finished: this is what the bus has of it now")
	}
	return nil
}

// copyStored copies a recording as it is stored.
func (c *exportCommand) copyStored(ctx context.Context, rec *opened, w io.Writer, bar *progress) error {
	var src io.ReadCloser
	var err error
	if c.isFile() {
		src, err = os.Open(c.What)
	} else {
		src, err = rec.in.store.Get(ctx, rec.in.store.Key(c.What+".tar"))
	}
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	n, err := io.Copy(io.MultiWriter(w, counter{bar}), src)
	if err == nil && n != rec.Size() {
		err = fmt.Errorf("export %s: %d bytes came, it has %d", c.What, n, rec.Size())
	}
	return err
}

// counter counts what is written to it.
type counter struct{ bar *progress }

// Write counts p.
func (c counter) Write(p []byte) (int, error) {
	c.bar.add(int64(len(p)))
	return len(p), nil
}

// toFile writes to a file beside the wanted one and renames it when it is whole,
// so that a crash leaves no half of an export under its name.
func (c *exportCommand) toFile(write func(io.Writer) error) error {
	if _, err := os.Lstat(c.Output); err == nil && !c.Force {
		return fmt.Errorf("export: %s is there already (replace it with --force)", c.Output)
	}
	f, err := os.CreateTemp(filepath.Dir(c.Output), "."+filepath.Base(c.Output)+"-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // it is gone by then, unless something failed
	}()
	// What is good of a damaged recording is worth having.
	writeErr := write(f)
	if damaged, ok := errors.AsType[*statusError](writeErr); writeErr != nil && (!ok || damaged.status == exitUsage) {
		return writeErr
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(f.Name(), c.Output); err != nil {
		return err
	}
	if writeErr != nil {
		return fmt.Errorf("%s has what is good: %w", c.Output, writeErr)
	}
	return nil
}
