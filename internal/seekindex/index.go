package seekindex

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// An Index is one that was opened. Its methods may be called from several
// goroutines.
type Index struct {
	store   Store
	key     string
	header  header
	summary summary
	dir     []entry
}

// firstRead is how much of an index is read at once. The front of all but very
// long or busy recordings is in it.
const firstRead = 256 << 10

// Open opens the index of a session: one request, or two if its front is long. Its
// error wraps [ErrNotFound] if there is none, and [ErrVersion] or [ErrCorrupt] if it
// is to be made anew.
func Open(ctx context.Context, store Store, sid string) (*Index, error) {
	x := &Index{store: store, key: store.Key(sid + Suffix)}
	front, err := x.get(ctx, 0, firstRead)
	if errors.Is(err, s3store.ErrNotFound) {
		return nil, fmt.Errorf("open index of %s: %w", sid, ErrNotFound)
	}
	if errors.Is(err, s3store.ErrRange) {
		return nil, fmt.Errorf("open index of %s: %w: it is empty", sid, ErrCorrupt)
	}
	if err == nil {
		x.header, err = parseHeader(front)
	}
	if err == nil && int64(len(front)) < x.header.front() {
		var rest []byte
		rest, err = x.get(ctx, int64(len(front)), x.header.front()-int64(len(front)))
		if errors.Is(err, s3store.ErrRange) {
			err = nil
		}
		if front = append(front, rest...); err == nil && int64(len(front)) < x.header.front() {
			err = fmt.Errorf("%w: it ends after %d bytes", ErrCorrupt, len(front))
		}
	}
	if err == nil {
		x.summary, x.dir, err = decodeFront(x.header, front[:x.header.front()])
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", x.key, err)
	}
	return x, nil
}

func (x *Index) get(ctx context.Context, off, n int64) ([]byte, error) {
	body, err := x.store.GetRange(ctx, x.key, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, n))
}

// Of says whether the index is of that recording, as it is stored now.
func (x *Index) Of(rec *recording.Recording) bool { return x.header.recording == rec.Identity() }

// Damaged says whether the recording could not be read to its end when the index was
// made.
func (x *Index) Damaged() bool { return x.summary.DamagedAt != nil }

// mended says whether what was damaged when the index was made can be read now: bytes
// may have been restored without the store calling it another object, and this program
// may know a version that an older one did not. It reads a part at most.
func (x *Index) mended(ctx context.Context, rec *recording.Recording) (bool, error) {
	if !x.Damaged() {
		return false, nil
	}
	at := *x.summary.DamagedAt
	for r, err := range rec.Records(ctx, recording.Range{FromIndex: max(at-1, 0)}) {
		switch {
		case err != nil && damaged(err) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, err
		case r.Index >= at:
			return true, nil
		}
	}
	return true, ctx.Err()
}

// verify reads all of the index, and its error wraps ErrCorrupt if it is not as its
// checksums say.
func (x *Index) verify(ctx context.Context) error {
	for i := range x.dir {
		if _, err := x.picture(ctx, i); err != nil {
			return err
		}
	}
	_, err := x.script(ctx)
	return err
}

// Events is how many events the recording has.
func (x *Index) Events() int64 { return x.header.events }

// Omitted says what is not in the transcript: lines left out where more was printed
// than anybody reads, and from when on there is nothing because it had become too
// long; 0 if it is whole.
func (x *Index) Omitted() (lines, fromMS int64) {
	return x.summary.LinesOmitted, x.summary.TranscriptToMS
}

// Timeline is what the seek bar shows.
func (x *Index) Timeline() Timeline {
	t := x.summary.Timeline
	t.Indexed, t.Keyframes = true, make([]Keyframe, len(x.dir))
	for i, e := range x.dir {
		t.Keyframes[i] = Keyframe{TMS: e.tms, Index: e.index}
	}
	return t
}

// A Frame is the screen as it was behind one event: what a terminal is to be
// written to show it, or a desktop's picture. Events from Index+1 on give the rest.
type Frame struct {
	TMS   int64
	Index int64
	Cols  int
	Rows  int
	Data  []byte     // of a terminal
	PNG   []byte     // of a desktop
	Zero  time.Time  // of the recording's first event, from which TMS counts
	Clock cast.Clock // of a terminal: with it a decoder goes on
}

// Keyframe is the newest picture at or before a time, in one request. Its error
// wraps [ErrNoKeyframe] if there is none.
func (x *Index) Keyframe(ctx context.Context, atMS int64) (Frame, error) {
	return x.frame(ctx, sort.Search(len(x.dir), func(i int) bool { return x.dir[i].tms > atMS })-1)
}

// KeyframeBefore is the same by the time that terminal playback has, which goes by
// the delays of the output.
func (x *Index) KeyframeBefore(ctx context.Context, at time.Duration) (Frame, error) {
	return x.frame(ctx, sort.Search(len(x.dir), func(i int) bool { return x.dir[i].last > at })-1)
}

func (x *Index) frame(ctx context.Context, i int) (Frame, error) {
	if i < 0 {
		return Frame{}, fmt.Errorf("%s: %w", x.key, ErrNoKeyframe)
	}
	data, err := x.picture(ctx, i)
	if err != nil {
		return Frame{}, err
	}
	e := x.dir[i]
	f := Frame{TMS: e.tms, Index: e.index, Cols: e.cols, Rows: e.rows, Zero: x.summary.Origin}
	if x.summary.Kind == "desktop" {
		f.PNG = data
		return f, nil
	}
	if f.Data, err = unpack(data, maxPicture); err != nil {
		return Frame{}, fmt.Errorf("read picture %d of %s: %w: %w", i, x.key, ErrCorrupt, err)
	}
	f.Clock = cast.Clock{Begun: true, Printed: x.summary.Printed, Origin: x.summary.Origin, Base: time.Duration(x.summary.BaseNS),
		Last: e.last, LastAt: unixNano(e.lastAt)}
	return f, nil
}

// picture is a picture as it is stored.
func (x *Index) picture(ctx context.Context, i int) ([]byte, error) {
	e := x.dir[i]
	data, err := x.checked(ctx, x.header.front()+e.offset, e.bytes, e.crc)
	if err != nil {
		return nil, fmt.Errorf("read picture %d of %s: %w", i, x.key, err)
	}
	return data, nil
}

// checked reads bytes that have a checksum. When the index was replaced since it was
// opened they are another's, or beyond the end, and that is as good as a wrong one.
func (x *Index) checked(ctx context.Context, off, n int64, crc uint32) ([]byte, error) {
	data, err := x.get(ctx, off, n)
	if errors.Is(err, s3store.ErrRange) || errors.Is(err, s3store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(data)) < n {
		return nil, fmt.Errorf("%w: %d bytes of %d are there", ErrCorrupt, len(data), n)
	}
	if crc32.ChecksumIEEE(data) != crc {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	return data, nil
}
