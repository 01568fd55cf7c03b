// Package sessions keeps the list of an installation's sessions where it can be
// searched: in a SQLite file that holds nothing of its own.
//
// What is true of a session is in its manifest, in its upload log and in its
// events. The [Index] is derived from those, and a [Keeper] keeps it so while a
// server runs. It may be lost, old or of another version at any time: then it is
// made again from what is in S3 and on the bus, and [Keeper.Rebuild] does that on
// request.
package sessions

import (
	"strconv"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Kinds of session.
const (
	Terminal = "terminal" // a person at a terminal
	Exec     = "exec"     // a command without a terminal
	Desktop  = "desktop"
)

// A Problem is something that is not well with a session, for people.
type Problem struct {
	Kind string `json:"kind"` // abandoned, gap, late, lost
	Text string `json:"text"`
}

// A Session is what the list says of one. What is not known is left out.
type Session struct {
	Session    string    `json:"session"`
	State      string    `json:"state"` // live, ending, finished, lost
	Outcome    string    `json:"outcome,omitempty"`
	Kind       string    `json:"kind,omitempty"`
	User       string    `json:"user,omitempty"`
	Login      string    `json:"login,omitempty"`
	Host       string    `json:"host,omitempty"`
	Node       string    `json:"node,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"` // of one that is over
	DurationMS int64     `json:"duration_ms,omitempty"`
	Events     int64     `json:"events"`
	Missing    int64     `json:"missing,omitempty"`
	Late       int64     `json:"late,omitempty"`
	Bytes      int64     `json:"bytes"`
	Parts      int       `json:"parts"`
	Cols       int       `json:"cols,omitempty"`
	Rows       int       `json:"rows,omitempty"`
	Problems   []Problem `json:"problems,omitempty"`

	Metadata slicefmt.Metadata `json:"-"`
	Rev      int64             `json:"-"` // grows with each change of any session
}

// FromInfo makes a Session of what a library knows of one.
func FromInfo(i recording.Info) Session {
	md := i.Metadata
	s := Session{
		Session: i.Session, State: string(i.Status), Outcome: i.Outcome, Kind: kindOf(md), User: md.User, Login: md.Login, Host: md.Hostname,
		Node: i.Node, Started: i.Started.UTC(), Events: i.Events, Missing: i.Missing, Late: i.Late, Bytes: i.Bytes, Parts: i.Parts, Metadata: md,
	}
	if !md.Start.IsZero() {
		s.Started = md.Start.UTC() // the same while it runs and when it is finished
	}
	s.Cols, s.Rows = size(md.Size)
	if i.Status != recording.Live {
		s.Ended = i.Seen.UTC()
	}
	if !s.Started.IsZero() && s.Ended.After(s.Started) {
		s.DurationMS = s.Ended.Sub(s.Started).Milliseconds()
	}
	s.Problems = problems(i)
	return s
}

func kindOf(md slicefmt.Metadata) string {
	switch {
	case strings.HasSuffix(md.Kind, "_desktop"):
		return Desktop
	case md.Kind != "" && md.Size == "":
		return Exec
	case md.Kind != "":
		return Terminal
	}
	return ""
}

func size(s string) (cols, rows int) {
	w, h, _ := strings.Cut(s, ":")
	cols, err1 := strconv.Atoi(w)
	rows, err2 := strconv.Atoi(h)
	if err1 != nil || err2 != nil || cols < 1 || rows < 1 {
		return 0, 0
	}
	return cols, rows
}

func problems(i recording.Info) []Problem {
	var all []Problem
	if i.Outcome == slicefmt.OutcomeAbandoned {
		all = append(all, Problem{"abandoned", "The session was never ended: what recorded it fell silent."})
	}
	if i.Missing > 0 {
		all = append(all, Problem{"gap", strconv.FormatInt(i.Missing, 10) + " events are missing."})
	}
	if i.Late > 0 {
		all = append(all, Problem{"late", strconv.FormatInt(i.Late, 10) + " messages had no place in the recording and are kept beside it."})
	}
	if i.Status == recording.Lost {
		all = append(all, Problem{"lost", "Parts of the recording are lost, and it will not be finished."})
	}
	return all
}

// text is what a search looks in, in lower case.
func (s Session) text() string {
	md := s.Metadata
	words := append([]string{s.Session, s.User, s.Login, s.Host, s.Node, md.ServerID, md.ServerAddr, md.Addr, md.Cluster, md.Reason}, md.Command...)
	return strings.ToLower(strings.Join(append(words, md.Participants...), "\n"))
}
