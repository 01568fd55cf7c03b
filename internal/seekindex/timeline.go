package seekindex

// A Timeline is what the seek bar and the event list show of a recording. Times are
// milliseconds since its first event, by the events' own clock, which is never let
// go back.
type Timeline struct {
	DurationMS int64      `json:"duration_ms"`
	Kind       string     `json:"kind"` // terminal, desktop, exec
	Cols       int        `json:"cols"` // at the start; of a desktop pixels
	Rows       int        `json:"rows"`
	BucketMS   int64      `json:"bucket_ms"`
	Activity   []int64    `json:"activity"` // bytes shown in each bucket
	Markers    []Marker   `json:"markers"`
	Idle       []Idle     `json:"idle"`
	Sizes      []Size     `json:"sizes"`
	Keyframes  []Keyframe `json:"keyframes"`
	Problems   []Problem  `json:"problems"`
	// Omitted is how many markers, sizes and problems there were beyond those listed.
	Omitted int64 `json:"omitted,omitempty"`
	// Placeholder is what a desktop's viewer shows because there are frames that
	// cannot be drawn.
	Placeholder string `json:"placeholder,omitempty"`
	Indexed     bool   `json:"indexed"`
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

// A Problem is something that is not well, where it happened.
type Problem struct {
	TMS  int64  `json:"t_ms"`
	Kind string `json:"kind"` // gap, abandoned, corrupt, truncated, undrawn
	Text string `json:"text"`
}

// What bounds an index, however long the recording is.
const (
	maxBuckets    = 1000
	maxListed     = 5000    // of each list
	maxMarkers    = 6 << 20 // bytes of the markers as JSON: with the other lists at their longest it is less than maxSummary
	maxProblems   = 100
	maxLabel      = 200 // runes
	idleMS        = 2000
	maxKeyframes  = 4096
	maxTranscript = 16 << 20 // bytes of text
	maxLine       = 1000     // bytes of one line of it
)
