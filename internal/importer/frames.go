package importer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

const (
	// tile is the side of the squares that a picture is compared in.
	tile = 64
	// maxPicture bounds a file: more is no picture of a screen.
	maxPicture = 256 << 20
	// unixMillis is where numbers in names are Unix milliseconds: 2001.
	unixMillis = 1_000_000_000_000
)

// A picture is a file of a folder.
type picture struct {
	name string
	ms   int64 // as its name says
}

var lastNumber = regexp.MustCompile(`([0-9]+)[^0-9]*$`)

// pictures are the PNG files of a folder in the order of their times, and how many
// other files there are.
func pictures(dir string) (all []picture, others int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("import: %w", err)
	}
	for _, e := range entries {
		base, isPNG := strings.CutSuffix(strings.ToLower(e.Name()), ".png")
		if !isPNG || e.IsDir() {
			others++
			continue
		}
		m := lastNumber.FindStringSubmatch(base)
		if m == nil {
			return nil, 0, fmt.Errorf("%s: there is no time in its name, such as frame-1500.png for 1.5 s after the start", filepath.Join(dir, e.Name()))
		}
		ms, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || ms > 100*unixMillis {
			return nil, 0, fmt.Errorf("%s: %s is no time: milliseconds since the start, or Unix milliseconds", filepath.Join(dir, e.Name()), m[1])
		}
		all = append(all, picture{e.Name(), ms})
	}
	slices.SortFunc(all, func(a, b picture) int { return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.name, b.name)) })
	if len(all) == 0 {
		return nil, 0, fmt.Errorf("import %s: there is no PNG file in this folder", dir)
	}
	if all[0].ms < unixMillis && all[len(all)-1].ms >= unixMillis {
		return nil, 0, fmt.Errorf("%s: its name has Unix milliseconds, and that of %s milliseconds since the start", filepath.Join(dir, all[len(all)-1].name), all[0].name)
	}
	return all, others, nil
}

// A desktop is a desktop session that is being published.
type desktop struct {
	s     *recorder.Session
	spec  recorder.Spec
	zero  int64 // milliseconds in the names that are the start
	last  time.Time
	shown *image.NRGBA
	tiles int64
}

func (j *job) importFrames(ctx context.Context) error {
	all, others, err := pictures(j.name)
	if err != nil {
		return err
	}
	rec, err := recorder.New(j.conn, j.layout, recorder.Options{Node: j.node(), Cluster: j.cmd.Cluster})
	if err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	d := &desktop{spec: j.desktopSpec(all[0])}
	if all[0].ms >= unixMillis {
		d.zero = all[0].ms
	}
	d.last = d.spec.Started
	if d.s, err = rec.Start(ctx, d.spec); err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	fmt.Fprintln(j.deps.Stdout, d.s.ID())
	j.bar = newBar(j.deps.Stderr, "import "+j.name, -1)
	defer j.bar.close()
	err = j.publishFrames(ctx, d, all)
	if d.s.Err() != nil { // the bus takes no more of it
		return errors.Join(err, d.s.Close(ctx))
	}
	ending, cancel := j.ending(ctx)
	defer cancel()
	if endErr := d.end(ending); endErr != nil {
		return errors.Join(err, fmt.Errorf("%s: %w (session %s is not ended)", j.name, endErr, d.s.ID()))
	}
	skipped := ""
	if others > 0 {
		skipped = fmt.Sprintf("; left out %d other files", others)
	}
	j.say("imported %d events with %d tiles as session %s%s", d.s.Next(), d.tiles, d.s.ID(), skipped)
	return err
}

// desktopSpec says what the session is.
func (j *job) desktopSpec(first picture) recorder.Spec {
	spec := recorder.LoadSpec(nil)
	spec.RemoteAddr, spec.LocalAddr, spec.ServerAddr, spec.Protocol = "", "", "", "" // of this process, not of the session
	spec.ID, spec.Cluster = j.cmd.Session, j.cmd.Cluster
	spec.User, spec.Login = cmp.Or(j.cmd.User, spec.User), cmp.Or(j.cmd.Login, spec.Login)
	spec.ServerHostname = cmp.Or(j.cmd.Host, spec.ServerHostname)
	spec.Desktop = &recorder.Desktop{Linux: !j.cmd.Windows, Name: spec.ServerHostname}
	switch {
	case first.ms >= unixMillis:
		spec.Started = time.UnixMilli(first.ms)
	case !j.cmd.Start.IsZero():
		spec.Started = j.cmd.Start.Time
	default:
		spec.Started = j.mtime
	}
	spec.Started = spec.Started.UTC().Round(time.Millisecond)
	return spec
}

func (j *job) publishFrames(ctx context.Context, d *desktop, all []picture) error {
	for _, p := range all {
		path := filepath.Join(j.name, p.name)
		data, err := readPicture(path)
		if err != nil {
			return err
		}
		_, _ = j.bar.Write(data)
		img, err := screen.DecodePNG(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := d.publish(ctx, p.ms-d.zero, img); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func readPicture(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPicture+1))
	if err == nil && len(data) > maxPicture {
		err = fmt.Errorf("over %d bytes", maxPicture)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// publish publishes what of a picture differs from the one before.
func (d *desktop) publish(ctx context.Context, ms int64, img image.Image) error {
	b := img.Bounds()
	next := image.NewNRGBA(image.Rectangle{Max: b.Size()})
	draw.Draw(next, next.Rect, img, b.Min, draw.Src)
	d.last = d.spec.Started.Add(time.Duration(ms) * time.Millisecond)
	if d.shown == nil || d.shown.Rect != next.Rect {
		if err := d.emit(ctx, ms, tdp.ScreenSize{Width: b.Dx(), Height: b.Dy()}); err != nil {
			return err
		}
		d.shown = nil
	}
	for y := 0; y < b.Dy(); y += tile {
		for x := 0; x < b.Dx(); x += tile {
			r := image.Rect(x, y, x+tile, y+tile).Intersect(next.Rect)
			if d.shown != nil && same(d.shown, next, r) {
				continue
			}
			var out bytes.Buffer
			if err := png.Encode(&out, next.SubImage(r)); err != nil {
				return fmt.Errorf("encode %v: %w", r, err)
			}
			if err := d.emit(ctx, ms, tdp.Frame{Rect: r, PNG: out.Bytes()}); err != nil {
				return err
			}
			d.tiles++
		}
	}
	d.shown = next
	return nil
}

func (d *desktop) emit(ctx context.Context, ms int64, m tdp.Message) error {
	return d.s.Emit(ctx, &events.DesktopRecording{
		Metadata: &events.Metadata{Time: timestamppb.New(d.last)}, Message: m.Append(nil), DelayMilliseconds: ms,
	})
}

// same says whether two pictures of one size are the same in a rectangle.
func same(a, b *image.NRGBA, r image.Rectangle) bool {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		from, to := a.PixOffset(r.Min.X, y), a.PixOffset(r.Max.X-1, y)+4
		if !bytes.Equal(a.Pix[from:to], b.Pix[from:to]) {
			return false
		}
	}
	return true
}

// end publishes the session's end, at the time of its last picture.
func (d *desktop) end(ctx context.Context) error {
	at := timestamppb.New(d.last)
	var e events.Event
	md, start, who := &events.Metadata{Time: at}, timestamppb.New(d.spec.Started), []string{d.spec.User}
	if d.spec.Desktop.Linux {
		e = &events.LinuxDesktopSessionEnd{Metadata: md, LinuxUser: d.spec.Login, DesktopName: d.spec.Desktop.Name, StartTime: start, EndTime: at,
			Recorded: true, Participants: who}
	} else {
		e = &events.WindowsDesktopSessionEnd{Metadata: md, WindowsUser: d.spec.Login, DesktopName: d.spec.Desktop.Name, StartTime: start, EndTime: at,
			Recorded: true, Participants: who}
	}
	if err := d.s.Emit(ctx, e); err != nil {
		return err
	}
	return d.s.End(ctx)
}
