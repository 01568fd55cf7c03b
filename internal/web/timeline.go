package web

import (
	"context"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Timeline is what the seek bar shows of a recording.
type Timeline struct {
	DurationMS int64      `json:"duration_ms"`
	Kind       string     `json:"kind"`
	Cols       int        `json:"cols"`
	Rows       int        `json:"rows"`
	BucketMS   int64      `json:"bucket_ms"`
	Activity   []int64    `json:"activity"` // bytes shown in each bucket
	Markers    []Marker   `json:"markers"`
	Idle       []Idle     `json:"idle"`
	Sizes      []Size     `json:"sizes"`
	Keyframes  []Keyframe `json:"keyframes"`
	Problems   []Trouble  `json:"problems"`
	Indexed    bool       `json:"indexed"`
}

// A Marker is an event that a viewer may want to go to.
type Marker struct {
	TMS   int64  `json:"t_ms"`
	Index int64  `json:"index"`
	Type  string `json:"type"`
	Code  string `json:"code"`
	Label string `json:"label"`
}

// An Idle is a stretch in which nothing happened.
type Idle struct {
	FromMS int64 `json:"from_ms"`
	ToMS   int64 `json:"to_ms"`
}

// A Size is how large the screen was from a time on.
type Size struct {
	TMS  int64 `json:"t_ms"`
	Cols int   `json:"cols"`
	Rows int   `json:"rows"`
}

// A Keyframe is where the screen can be had without what was before.
type Keyframe struct {
	TMS   int64 `json:"t_ms"`
	Index int64 `json:"index"`
}

// A Trouble is something that is not well, where it happened.
type Trouble struct {
	TMS  int64  `json:"t_ms"`
	Kind string `json:"kind"` // gap, abandoned, corrupt, truncated, lost
	Text string `json:"text"`
}

// What bounds a timeline, however long the recording is.
const (
	maxBuckets = 1000
	maxListed  = 5000 // of each list
	idleMS     = 2000 // the shortest stretch that is called idle
)

// A surveyor makes a timeline of the records of a recording, in their order.
type surveyor struct {
	t     Timeline
	clock clock
	next  int64 // the index that comes if none is missing
	any   bool
}

func newSurveyor(kind string, zero time.Time) *surveyor {
	return &surveyor{clock: clock{zero: zero}, t: Timeline{
		Kind: kind, BucketMS: 100, Activity: []int64{}, Markers: []Marker{}, Idle: []Idle{}, Sizes: []Size{}, Keyframes: []Keyframe{}, Problems: []Trouble{},
	}}
}

func (s *surveyor) take(rec slicefmt.Record) {
	before := s.clock.last
	at := s.clock.at(rec.Time())
	if s.any && at-before >= idleMS && len(s.t.Idle) < maxListed {
		s.t.Idle = append(s.t.Idle, Idle{before, at})
	}
	if rec.Index > s.next && len(s.t.Problems) < maxListed {
		s.t.Problems = append(s.t.Problems, Trouble{at, "gap", countText(rec.Index-s.next, "event is missing here.", "events are missing here.")})
	}
	s.any, s.next = true, rec.Index+1
	s.t.DurationMS = at
	s.activity(at, int64(len(rec.OneOf)))
	if rec.Case == casePrint {
		return
	}
	one, err := events.Unmarshal(rec.OneOf)
	if err != nil {
		return
	}
	if rec.Case == caseDesktop {
		s.message(at, one.GetDesktopRecording().GetMessage())
		return
	}
	s.size(at, one)
	if len(s.t.Markers) < maxListed {
		s.t.Markers = append(s.t.Markers, markerOf(at, rec, one))
	}
}

// activity adds n to the bucket of a time. When there would be too many, two
// become one.
func (s *surveyor) activity(at, n int64) {
	for at/s.t.BucketMS >= maxBuckets {
		half := (len(s.t.Activity) + 1) / 2
		for i := range half {
			sum := s.t.Activity[2*i]
			if 2*i+1 < len(s.t.Activity) {
				sum += s.t.Activity[2*i+1]
			}
			s.t.Activity[i] = sum
		}
		s.t.Activity = s.t.Activity[:half]
		s.t.BucketMS *= 2
	}
	bucket := int(at / s.t.BucketMS)
	for len(s.t.Activity) <= bucket {
		s.t.Activity = append(s.t.Activity, 0)
	}
	s.t.Activity[bucket] += n
}

func (s *surveyor) size(at int64, one *events.OneOf) {
	text := one.GetResize().GetTerminalSize()
	if start := one.GetSessionStart(); start != nil {
		text = start.GetTerminalSize()
	}
	if cols, rows, err := parseSize(text); err == nil {
		s.resized(at, cols, rows)
	}
}

// message reads the sizes out of what a desktop is sent.
func (s *surveyor) message(at int64, m []byte) {
	switch {
	case len(m) >= 9 && m[0] == 1:
		s.resized(at, int(binary.BigEndian.Uint32(m[1:])), int(binary.BigEndian.Uint32(m[5:])))
	case len(m) >= 9 && m[0] == 31:
		s.resized(at, int(binary.BigEndian.Uint16(m[5:])), int(binary.BigEndian.Uint16(m[7:])))
	}
}

func (s *surveyor) resized(at int64, cols, rows int) {
	if len(s.t.Sizes) == 0 {
		s.t.Cols, s.t.Rows = cols, rows
	}
	if len(s.t.Sizes) < maxListed {
		s.t.Sizes = append(s.t.Sizes, Size{at, cols, rows})
	}
}

// end adds what is wrong at the end.
func (s *surveyor) end(v sessions.Session, damage error) {
	add := func(kind, text string) {
		s.t.Problems = append(s.t.Problems, Trouble{s.clock.last, kind, text})
	}
	if damage != nil {
		add(damageKind(damage), "The recording is damaged here, and what follows cannot be read: "+oneLine(damage.Error()))
	}
	if v.Outcome == slicefmt.OutcomeAbandoned {
		add("abandoned", "What recorded the session fell silent here; nobody knows what came after.")
	}
	if v.State == string(recording.Lost) {
		add("lost", "Parts of the recording are lost.")
	}
}

func (s *Server) timeline(w http.ResponseWriter, r *http.Request, v *view) {
	rd := s.open(w, r, v, lookPage)
	if rd == nil {
		return
	}
	defer rd.done()
	t, err := survey(r.Context(), rd, v.Session)
	if err != nil {
		s.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, t)
}

// survey reads a recording once.
func survey(ctx context.Context, rd *reading, v sessions.Session) (Timeline, error) {
	rd.span = span{toIndex: -1, toMS: -1}
	s := newSurveyor(v.Kind, rd.clock.zero)
	damage, err := rd.each(ctx, func(rec slicefmt.Record) error { s.take(rec); return nil })
	if err != nil {
		return Timeline{}, err
	}
	s.end(v, damage)
	return s.t, nil
}
