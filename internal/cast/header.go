package cast

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// jsonHeader is the header line of both versions.
type jsonHeader struct {
	Version       int               `json:"version"`
	Width         int               `json:"width,omitempty"`
	Height        int               `json:"height,omitempty"`
	Term          *jsonTerm         `json:"term,omitempty"`
	Timestamp     int64             `json:"timestamp,omitempty"`
	Duration      float64           `json:"duration,omitempty"`
	IdleTimeLimit float64           `json:"idle_time_limit,omitempty"`
	Command       string            `json:"command,omitempty"`
	Title         string            `json:"title,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
}

type jsonTerm struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type,omitempty"`
}

// maxTimestamp is the end of the year 9999, the last that protobuf's Timestamp
// can hold.
const maxTimestamp = 253402300799

func parseHeader(line []byte) (Header, error) {
	var v struct {
		Version *int `json:"version"`
	}
	if !utf8.Valid(line) {
		return Header{}, errors.New("header is not valid UTF-8")
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return Header{}, fmt.Errorf("header: %w", reason(err))
	}
	if v.Version == nil {
		return Header{}, errors.New(`header has no "version"`)
	}
	if *v.Version != 2 && *v.Version != 3 {
		return Header{}, fmt.Errorf("asciicast version %d: only 2 and 3 can be read", *v.Version)
	}
	var j jsonHeader
	if err := json.Unmarshal(line, &j); err != nil {
		return Header{}, fmt.Errorf("header: %w", reason(err))
	}
	return j.header()
}

// header checks the header and gives it in our terms.
func (j *jsonHeader) header() (Header, error) {
	h := Header{
		Version: j.Version, Width: j.Width, Height: j.Height,
		Command: j.Command, Title: j.Title, Env: j.Env, TermType: j.Env["TERM"],
	}
	names := [2]string{"width", "height"}
	if j.Version == 3 {
		if j.Term == nil {
			return Header{}, errors.New(`header has no "term"`)
		}
		names = [2]string{"term.cols", "term.rows"}
		h.Width, h.Height = j.Term.Cols, j.Term.Rows
		if j.Term.Type != "" {
			h.TermType = j.Term.Type
		}
	}
	for i, n := range []int{h.Width, h.Height} {
		if n < 1 || n > maxSide {
			return Header{}, fmt.Errorf("header: %s is %d, want 1 to %d", names[i], n, maxSide)
		}
	}
	if j.Timestamp < 0 || j.Timestamp > maxTimestamp {
		return Header{}, fmt.Errorf("header: timestamp %d is not in the years 1970 to 9999", j.Timestamp)
	}
	if j.Timestamp > 0 {
		h.Start = time.Unix(j.Timestamp, 0).UTC()
	}
	var err error
	if h.Duration, err = seconds("duration", j.Duration); err != nil {
		return Header{}, err
	}
	h.IdleTimeLimit, err = seconds("idle_time_limit", j.IdleTimeLimit)
	return h, err
}

func seconds(name string, f float64) (time.Duration, error) {
	if f < 0 || f > MaxTime.Seconds() {
		return 0, fmt.Errorf("header: %s is %v, want 0 to %.0f", name, f, MaxTime.Seconds())
	}
	return time.Duration(math.Round(f * 1e9)), nil
}

// json gives the header line of h.Version.
func (h *Header) json() jsonHeader {
	j := jsonHeader{
		Version: h.Version, Duration: h.Duration.Seconds(), IdleTimeLimit: h.IdleTimeLimit.Seconds(),
		Command: h.Command, Title: h.Title, Env: h.Env,
	}
	if !h.Start.IsZero() && h.Start.Unix() > 0 {
		j.Timestamp = h.Start.Unix()
	}
	if h.Version == 3 {
		j.Term = &jsonTerm{Cols: h.Width, Rows: h.Height, Type: h.TermType}
	} else {
		j.Width, j.Height = h.Width, h.Height
	}
	return j
}
