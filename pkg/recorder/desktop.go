package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// A Desktop says which desktop a session is on. A [Spec] that has one is a desktop
// session: it begins and ends with the events of one, and takes [Session.Draw],
// [Session.ScreenSize], [Session.MouseMove], [Session.MouseButton] and
// [Session.Clipboard] instead of terminal output. Spec.Login is the account on
// the desktop, Spec.ServerID the service that connects to it.
type Desktop struct {
	// Linux says that it is a Linux desktop. Default: Windows.
	Linux bool
	// Name and Addr are the desktop's; Domain is its Windows domain.
	Name, Addr, Domain string
	Labels             map[string]string
}

// ErrPicture is in the error of a picture that cannot be recorded: it is no PNG,
// or its size is out of range. Nothing of it was recorded.
var ErrPicture = errors.New("not a picture that can be recorded")

// maxPixels bounds a picture that has to be cut up: 8K.
const maxPixels = 7680 * 4320

// startEvent is what a session begins with.
func (s *Session) startEvent() events.Event {
	md, d := &events.Metadata{Time: timestamppb.New(s.spec.Started)}, s.spec.Desktop
	switch {
	case d == nil:
		return s.sessionStart(md)
	case d.Linux:
		return &events.LinuxDesktopSessionStart{Metadata: md, Status: &events.Status{Success: true},
			DesktopAddr: d.Addr, LinuxUser: s.spec.Login, DesktopLabels: d.Labels, DesktopName: d.Name}
	}
	return &events.WindowsDesktopSessionStart{Metadata: md, Status: &events.Status{Success: true},
		WindowsDesktopService: s.spec.ServerID, DesktopAddr: d.Addr, Domain: d.Domain, WindowsUser: s.spec.Login,
		DesktopLabels: d.Labels, DesktopName: d.Name}
}

// endEvent is what a session ends with, at a given time.
func (s *Session) endEvent(at time.Time) events.Event {
	start, end, d := timestamppb.New(s.spec.Started), timestamppb.New(stamp(at)), s.spec.Desktop
	switch {
	case d == nil:
		return s.sessionEnd(end)
	case d.Linux:
		return &events.LinuxDesktopSessionEnd{DesktopAddr: d.Addr, LinuxUser: s.spec.Login, DesktopLabels: d.Labels, StartTime: start,
			EndTime: end, DesktopName: d.Name, Recorded: true, Participants: s.participants}
	}
	return &events.WindowsDesktopSessionEnd{WindowsDesktopService: s.spec.ServerID, DesktopAddr: d.Addr, Domain: d.Domain,
		WindowsUser: s.spec.Login, DesktopLabels: d.Labels, StartTime: start, EndTime: end, DesktopName: d.Name, Recorded: true,
		Participants: s.participants}
}

// ends says whether nothing follows the event in its session.
func ends(e events.Event) bool {
	switch e.(type) {
	case *events.SessionEnd, *events.WindowsDesktopSessionEnd, *events.LinuxDesktopSessionEnd:
		return true
	}
	return false
}

// ScreenSize records a new size of the desktop, in pixels.
func (s *Session) ScreenSize(ctx context.Context, width, height int) error {
	if width < 1 || height < 1 || width > tdp.MaxSide || height > tdp.MaxSide {
		return fmt.Errorf("record screen size: %dx%d is none", width, height)
	}
	return s.desktop(ctx, tdp.ScreenSize{Width: width, Height: height})
}

// MouseMove records where the pointer is.
func (s *Session) MouseMove(ctx context.Context, x, y int) error {
	return s.desktop(ctx, tdp.MouseMove{X: inside(x), Y: inside(y)})
}

// MouseButton records a mouse button going down or up: 0 left, 1 middle, 2 right.
func (s *Session) MouseButton(ctx context.Context, button byte, down bool) error {
	return s.desktop(ctx, tdp.Button{Button: button, Down: down})
}

// Clipboard records what was copied or pasted. More than fits into an event is
// refused with ErrTooLarge.
func (s *Session) Clipboard(ctx context.Context, data []byte) error {
	if len(data) > tdp.MaxMessage {
		return fmt.Errorf("record clipboard (%d bytes, %d at most): %w", len(data), tdp.MaxMessage, ErrTooLarge)
	}
	return s.desktop(ctx, tdp.Clipboard{Data: data})
}

func inside(v int) int { return min(max(v, 0), tdp.MaxSide) }

// Draw records a PNG picture whose upper left corner is at a point of the screen.
// It keeps nothing of the picture.
//
// A picture that fits into an event goes there as it is. A larger one, up to 33
// million pixels, is cut into smaller ones that cover the same rectangle, which
// costs decoding and encoding it: producers that draw often should send small
// rectangles. Its error wraps [ErrPicture] if the PNG cannot be used.
func (s *Session) Draw(ctx context.Context, at image.Point, picture []byte) error {
	c, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return fmt.Errorf("record picture of %d bytes: %w: %w", len(picture), ErrPicture, err)
	}
	rect := image.Rectangle{Max: image.Point{X: c.Width, Y: c.Height}}.Add(at)
	if at.X < 0 || at.Y < 0 || rect.Max.X > tdp.MaxSide || rect.Max.Y > tdp.MaxSide {
		return fmt.Errorf("record picture: %w: it is at %v, and coordinates go from 0 to %d", ErrPicture, rect, tdp.MaxSide)
	}
	if len(picture)+tdp.FrameOverhead <= tdp.MaxMessage {
		return s.desktop(ctx, tdp.Frame{Rect: rect, PNG: picture})
	}
	if c.Width*c.Height > maxPixels {
		return fmt.Errorf("record picture of %dx%d: %w: more than %d pixels in one picture", c.Width, c.Height, ErrPicture, maxPixels)
	}
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return fmt.Errorf("record picture of %d bytes: %w: %w", len(picture), ErrPicture, err)
	}
	return s.DrawImage(ctx, at, img)
}

// DrawImage records a picture as [Session.Draw] does: img's upper left corner is
// drawn at a point of the screen, cut into as many events as it takes.
func (s *Session) DrawImage(ctx context.Context, at image.Point, img image.Image) error {
	frames, err := cutUp(img, at)
	if err != nil {
		return err
	}
	return s.desktop(ctx, frames...)
}

// cutUp encodes a picture in rectangles that each fit into an event.
func cutUp(img image.Image, at image.Point) ([]tdp.Message, error) {
	b := img.Bounds()
	if b.Empty() || b.Dx()*b.Dy() > maxPixels || !b.Sub(b.Min).Add(at).In(image.Rect(0, 0, tdp.MaxSide, tdp.MaxSide)) {
		return nil, fmt.Errorf("record picture of %dx%d at %v: %w", b.Dx(), b.Dy(), at, ErrPicture)
	}
	var frames []tdp.Message
	left := []image.Rectangle{b}
	for len(left) > 0 {
		r := left[len(left)-1]
		left = left[:len(left)-1]
		picture, err := encode(img, r)
		if err != nil {
			return nil, err
		}
		if len(picture)+tdp.FrameOverhead <= tdp.MaxMessage {
			frames = append(frames, tdp.Frame{Rect: r.Sub(b.Min).Add(at), PNG: picture})
			continue
		}
		first, second := halves(r)
		left = append(left, second, first)
	}
	return frames, nil
}

// halves cuts a rectangle across its longer side. One pixel always fits.
func halves(r image.Rectangle) (first, second image.Rectangle) {
	first, second = r, r
	if r.Dx() > r.Dy() {
		first.Max.X = r.Min.X + r.Dx()/2
		second.Min.X = first.Max.X
		return first, second
	}
	first.Max.Y = r.Min.Y + r.Dy()/2
	second.Min.Y = first.Max.Y
	return first, second
}

func encode(img image.Image, r image.Rectangle) ([]byte, error) {
	var part image.Image
	if sub, ok := img.(interface {
		SubImage(image.Rectangle) image.Image
	}); ok {
		part = sub.SubImage(r)
	} else {
		copied := image.NewNRGBA(r)
		draw.Draw(copied, r, img, r.Min, draw.Src)
		part = copied
	}
	var out bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&out, part); err != nil {
		return nil, fmt.Errorf("record picture: encode %v: %w", r, err)
	}
	return out.Bytes(), nil
}

// desktop records messages one behind the other, with nothing in between.
func (s *Session) desktop(ctx context.Context, messages ...tdp.Message) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	for _, m := range messages {
		if err := s.emit(ctx, &events.DesktopRecording{Message: m.Append(nil)}); err != nil {
			return err
		}
	}
	return nil
}

// desktopDelay fills in the delay of a desktop message that has none, and never
// lets it go back.
func (s *Session) desktopDelay(e *events.DesktopRecording, at time.Time) {
	if e.DelayMilliseconds == 0 {
		e.DelayMilliseconds = at.Sub(s.spec.Started).Milliseconds()
	}
	e.DelayMilliseconds = max(e.DelayMilliseconds, s.desktopLast)
}
