// Package report is what a load test found: as JSON that a later run is compared
// with, as text, and as one HTML page that needs nothing else.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/check"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
)

// Version of the JSON. A member that means something else is a new version; more
// members are not.
const Version = 1

// A Report is one run.
type Report struct {
	Version int       `json:"version"`
	Program string    `json:"program"`
	Started time.Time `json:"started"`
	Passed  bool      `json:"passed"`
	Reasons []string  `json:"reasons,omitempty"` // why not

	Machine Machine `json:"machine"`
	Setup   Setup   `json:"setup"`

	Publish  Publish      `json:"publish"`
	Ack      load.Summary `json:"ack"`    // meant to be published until acknowledged
	Follow   load.Summary `json:"follow"` // meant to be published until a follower has it
	Finish   load.Summary `json:"finish"` // end of a session until its recording is finished
	EndToEnd EndToEnd     `json:"end_to_end"`
	Lag      Lag          `json:"lag"`

	Services []Service `json:"services"`
	S3       S3        `json:"s3"`

	Check       check.Result `json:"check"`
	CheckedPart float64      `json:"checked_share"` // of the ended sessions
	LeftOpen    int64        `json:"left_open"`     // sessions that were not ended

	Metrics map[string]float64      `json:"metrics,omitempty"` // of the slicer and the completer, at the end
	Curves  map[string][]load.Point `json:"curves"`
	Series  []Sample                `json:"series"`
}

// A Machine is where it ran.
type Machine struct {
	System string `json:"system"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
}

// A Setup is what was asked for.
type Setup struct {
	Preset     string  `json:"preset,omitempty"`
	Target     string  `json:"target"`
	Sync       string  `json:"sync"` // of the bus: every message, the server's own, or as it is there
	Partitions int     `json:"partitions"`
	Sessions   int     `json:"sessions"`
	Mix        string  `json:"mix"`
	Rate       string  `json:"rate"`
	Duration   float64 `json:"duration_s"`
	Events     int64   `json:"events,omitempty"`
	Ramp       float64 `json:"ramp_s"`
	Length     float64 `json:"session_length_s,omitempty"`
	EndOver    float64 `json:"end_over_s,omitempty"`
	Seed       uint64  `json:"seed"`
}

// Publish is what the bus took.
type Publish struct {
	Sessions  int64   `json:"sessions"` // begun
	Events    int64   `json:"events"`   // acknowledged
	Bytes     int64   `json:"bytes"`    // acknowledged
	Unacked   int64   `json:"unacknowledged"`
	Seconds   float64 `json:"seconds"` // until the last acknowledgement
	PerSecond float64 `json:"events_per_second"`
	BytesRate float64 `json:"bytes_per_second"`
}

// EndToEnd is from the first event until the last recording is finished.
type EndToEnd struct {
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"events_per_second"`
	Finished  int64   `json:"finished"`
	Missing   int64   `json:"unfinished"`
}

// Lag is how many messages the slicers were behind.
type Lag struct {
	Max  int64 `json:"max_messages"`
	Last int64 `json:"last_messages"`
}

// A Service is what one process has used during the run.
type Service struct {
	Name  string  `json:"name"`
	CPU   float64 `json:"cpu_s"`
	Cores float64 `json:"cores"` // on average
	RSS   int64   `json:"max_rss_bytes"`
}

// S3 is what the services have sent to the store; zero if they are not this test's
// own.
type S3 struct {
	Requests   int64 `json:"requests"`
	Failed     int64 `json:"failed"`
	Uploaded   int64 `json:"uploaded_bytes"`
	Downloaded int64 `json:"downloaded_bytes"`
}

// A Sample is one moment.
type Sample struct {
	T       float64            `json:"t"` // seconds since the first event
	Open    int64              `json:"open"`
	Rate    float64            `json:"events_per_second"`
	Bytes   float64            `json:"bytes_per_second"`
	Ack50   float64            `json:"ack_p50_ms"`
	Ack99   float64            `json:"ack_p99_ms"`
	Follow  float64            `json:"follow_p99_ms"`
	Finish  float64            `json:"finish_p99_ms"`
	Lag     int64              `json:"lag_messages"`
	Unread  float64            `json:"unread_messages"`
	Cores   map[string]float64 `json:"cores"`
	RSS     map[string]int64   `json:"rss_bytes"`
	Stopped bool               `json:"stopped,omitempty"` // publishing was over
}

// Write writes the report as JSON.
func (r *Report) Write(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// ErrVersion is in the error of a report of another version.
var ErrVersion = errors.New("unknown version of a report")

// Read reads a report that Write wrote.
func Read(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("read report %s: %w: %d, this program knows %d", path, ErrVersion, r.Version, Version)
	}
	return &r, nil
}
