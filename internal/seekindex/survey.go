package seekindex

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// The cases of OneOf that matter here.
const (
	caseStart        = 5
	casePrint        = 7
	caseResize       = 9
	caseEnd          = 10
	caseDisk         = 12
	caseNetwork      = 13
	caseWindowsStart = 59
	caseDesktop      = 69
	caseLinuxStart   = 254
)

// A survey learns from each record what the timeline says.
type survey struct {
	Timeline
	zero time.Time
	now  int64 // of the newest record
	next int64 // the index that comes if none is missing
	any  bool
	text int // bytes of the markers listed
}

func newSurvey() *survey {
	return &survey{Timeline: Timeline{
		BucketMS: 100, Activity: []int64{}, Markers: []Marker{}, Idle: []Idle{}, Sizes: []Size{}, Keyframes: []Keyframe{}, Problems: []Problem{},
	}}
}

// take learns from a record; one is its event, nil if that cannot be decoded.
func (s *survey) take(rec slicefmt.Record, one *events.OneOf) {
	before := s.now
	if !s.any {
		s.zero = rec.Time()
	}
	s.now = max(s.now, rec.Time().Sub(s.zero).Milliseconds())
	if s.any && s.now-before >= idleMS {
		s.idle(Idle{before, s.now})
	}
	if rec.Index > s.next {
		s.problem("gap", countText(rec.Index-s.next, "event is missing here.", "events are missing here."))
	}
	s.any, s.next, s.DurationMS = true, rec.Index+1, s.now
	s.activity(int64(len(rec.OneOf)))
	switch rec.Case {
	case casePrint:
		s.Kind = "terminal"
	case caseDesktop, caseWindowsStart, caseLinuxStart:
		s.Kind = "desktop"
	case caseStart:
		s.start(one)
	case caseResize:
		s.sizeText(one.GetResize().GetTerminalSize())
	}
	if one != nil && rec.Case != casePrint && rec.Case != caseDesktop && rec.Case != caseDisk && rec.Case != caseNetwork {
		s.marker(rec, one)
	}
}

// activity adds n to the bucket of now. When there would be too many buckets, two
// become one.
func (s *survey) activity(n int64) {
	for s.now/s.BucketMS >= maxBuckets {
		half := (len(s.Activity) + 1) / 2
		for i := range half {
			sum := s.Activity[2*i]
			if 2*i+1 < len(s.Activity) {
				sum += s.Activity[2*i+1]
			}
			s.Activity[i] = sum
		}
		s.Activity = s.Activity[:half]
		s.BucketMS *= 2
	}
	for int64(len(s.Activity)) <= s.now/s.BucketMS {
		s.Activity = append(s.Activity, 0)
	}
	s.Activity[s.now/s.BucketMS] += n
}

func (s *survey) problem(kind, text string) {
	if len(s.Problems) == maxProblems {
		s.Omitted++
		return
	}
	s.Problems = append(s.Problems, Problem{s.now, kind, text})
}

func (s *survey) start(one *events.OneOf) {
	size := one.GetSessionStart().GetTerminalSize()
	s.sizeText(size)
	if s.Kind == "" {
		s.Kind = "terminal"
		if size == "" && len(one.GetSessionStart().GetInitialCommand()) > 0 {
			s.Kind = "exec"
		}
	}
}

func (s *survey) sizeText(text string) {
	if cols, rows, err := cast.ParseSize(text, ':'); err == nil {
		s.resized(screen.ClampSize(cols, rows))
	}
}

func (s *survey) resized(cols, rows int) {
	if len(s.Sizes) == 0 {
		s.Cols, s.Rows = cols, rows
	} else if last := s.Sizes[len(s.Sizes)-1]; last.Cols == cols && last.Rows == rows {
		return
	}
	if len(s.Sizes) == maxListed {
		s.Omitted++
		return
	}
	s.Sizes = append(s.Sizes, Size{s.now, cols, rows})
}

func (s *survey) marker(rec slicefmt.Record, one *events.OneOf) {
	m := Marker{TMS: s.now, Index: rec.Index, Type: clean(string(rec.Type)), Label: clean(labelOf(one))}
	if e, err := events.Unwrap(one); err == nil {
		m.Code = clean(e.GetMetadata().GetCode())
	}
	text, err := json.Marshal(m)
	if s.text += len(text) + 1; err != nil || len(s.Markers) == maxListed || s.text > maxMarkers {
		s.Omitted++
		s.text = maxMarkers // what comes after one that is left out is, too
		return
	}
	s.Markers = append(s.Markers, m)
}

// damage says why nothing follows what was read.
func (s *survey) damage(err error) {
	kind := "corrupt"
	if errors.Is(err, slicefmt.ErrTruncated) {
		kind = "truncated"
	}
	s.problem(kind, "The recording is damaged here, and what follows cannot be read: "+clean(err.Error()))
}

// finish learns what the manifest says of the end.
func (s *survey) finish(m *slicefmt.Manifest) {
	slices.SortFunc(s.Idle, func(a, b Idle) int { return cmp.Compare(a.FromMS, b.FromMS) })
	if m == nil {
		return
	}
	if m.Count > s.next && m.Missing > 0 {
		s.problem("gap", countText(m.Count-s.next, "event is missing at the end.", "events are missing at the end."))
	}
	if m.Outcome == slicefmt.OutcomeAbandoned {
		s.problem("abandoned", "What recorded the session fell silent here; nobody knows what came after.")
	}
}

// labelOf is what happened, in a few words.
func labelOf(one *events.OneOf) string {
	switch e := one.GetEvent().(type) {
	case *events.OneOf_SessionStart:
		return e.SessionStart.GetUser().GetUser()
	case *events.OneOf_SessionJoin:
		return e.SessionJoin.GetUser().GetUser()
	case *events.OneOf_SessionLeave:
		return e.SessionLeave.GetUser().GetUser()
	case *events.OneOf_Resize:
		return strings.Replace(e.Resize.GetTerminalSize(), ":", "x", 1)
	case *events.OneOf_SessionCommand:
		return strings.Join(append([]string{e.SessionCommand.GetPath()}, e.SessionCommand.GetArgv()...), " ")
	case *events.OneOf_Scp:
		return e.Scp.GetAction() + " " + e.Scp.GetPath()
	case *events.OneOf_Sftp:
		return e.Sftp.GetPath()
	case *events.OneOf_Exec:
		return e.Exec.GetCommand().GetCommand()
	case *events.OneOf_PortForward:
		return e.PortForward.GetAddr()
	case *events.OneOf_Subsystem:
		return e.Subsystem.GetName()
	case *events.OneOf_DesktopClipboardSend:
		return strconv.Itoa(int(e.DesktopClipboardSend.GetLength())) + " bytes"
	case *events.OneOf_DesktopClipboardReceive:
		return strconv.Itoa(int(e.DesktopClipboardReceive.GetLength())) + " bytes"
	case *events.OneOf_ClientDisconnect:
		return e.ClientDisconnect.GetReason()
	}
	return ""
}

// clean makes text that can stand anywhere: short, and without what a terminal
// would take for a command.
func clean(s string) string {
	n := 0
	out := strings.Map(func(r rune) rune {
		if n++; n > maxLabel {
			return -1
		}
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if n > maxLabel {
		out += "…"
	}
	return out
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Survey reads a recording and says what its timeline is without an index: for a
// session that still runs, or whose index is not made yet. Of one that runs it is
// what there is now.
func Survey(ctx context.Context, rec *recording.Recording) (Timeline, error) {
	s := newSurvey()
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil && damaged(err) && ctx.Err() == nil {
			s.damage(err)
			break
		}
		if err != nil {
			return Timeline{}, fmt.Errorf("survey %s: %w", rec.Name(), err)
		}
		var one *events.OneOf
		if r.Case != casePrint {
			if known, err := events.Unmarshal(r.OneOf); err == nil {
				one = known
			}
		}
		s.take(r, one)
		s.desktopSize(one.GetDesktopRecording().GetMessage())
	}
	m, _ := rec.Manifest()
	s.finish(m)
	return s.Timeline, ctx.Err()
}

// desktopSize learns the size of a desktop from a message that says it. Building an
// index learns it from the screen that it draws.
func (s *survey) desktopSize(message []byte) {
	if len(message) == 0 || message[0] != byte(tdp.TypeScreenSize) && message[0] != byte(tdp.TypeActivated) {
		return
	}
	m, err := tdp.Parse(message)
	if err != nil {
		return
	}
	switch m := m.(type) {
	case tdp.ScreenSize:
		s.resized(m.Width, m.Height)
	case tdp.Activated:
		s.resized(m.Width, m.Height)
	}
}
