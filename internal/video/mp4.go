package video

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"os/exec"
	"strings"
)

// HasFFmpeg says whether ffmpeg is there, which [MP4] needs.
func HasFFmpeg() bool {
	_, err := exec.LookPath("ffmpeg")
	return err == nil
}

// MP4 writes a recording as a film in H.264 to a file that is empty. The frames
// are piped into ffmpeg.
func MP4(ctx context.Context, file *os.File, open Open, o Options) error {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	f := &ffmpeg{ctx: ctx, path: file.Name(), rate: o.Rate, most: o.MaxBytes}
	err := film(ctx, open, o, f)
	if f.in != nil && !f.ended { // the recording could not be read to its end
		kill()
		_ = f.wait() // killed
	}
	return err
}

// ffmpeg is the program, which makes a film of raw frames.
type ffmpeg struct {
	ctx  context.Context
	path string
	rate int
	most int64 // bytes of the film; 0 for no limit
	cmd  *exec.Cmd
	in   io.WriteCloser // nil until it runs
	said bytes.Buffer

	ended bool
}

func (f *ffmpeg) begin(size image.Point) error {
	f.cmd = exec.CommandContext(f.ctx, "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y",
		"-f", "rawvideo", "-pix_fmt", "rgba", "-video_size", fmt.Sprintf("%dx%d", size.X, size.Y), "-framerate", fmt.Sprint(f.rate), "-i", "pipe:0",
		"-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", "file:"+f.path)
	f.cmd.Stderr = &tail{buf: &f.said}
	in, err := f.cmd.StdinPipe()
	if err == nil {
		err = f.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start ffmpeg: %w", err)
	}
	f.in = in
	return nil
}

func (f *ffmpeg) frame(img *image.RGBA, _ image.Rectangle, n int64) error {
	for range n {
		if _, err := f.in.Write(img.Pix); err != nil {
			return errors.Join(f.wait(), f.ctx.Err())
		}
	}
	return f.full()
}

// full looks at what the program has written so far. It may hold some frames, and so
// take a little more than it may.
func (f *ffmpeg) full() error {
	if f.most == 0 {
		return nil
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("look at the film: %w", err)
	}
	if info.Size() > f.most {
		return fmt.Errorf("%w: it has %d bytes, %d at most", ErrTooLong, info.Size(), f.most)
	}
	return nil
}

func (f *ffmpeg) end() error {
	_ = f.in.Close() // it says what is wrong when it ends
	if err := f.wait(); err != nil {
		return err
	}
	return f.full()
}

func (f *ffmpeg) wait() error {
	f.ended = true
	if err := f.cmd.Wait(); err != nil {
		return fmt.Errorf("run ffmpeg: %w: %s", err, strings.TrimSpace(f.said.String()))
	}
	return nil
}

// tail keeps the first kilobyte of what a program says.
type tail struct{ buf *bytes.Buffer }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p[:min(len(p), max(1024-t.buf.Len(), 0))])
	return len(p), nil
}
