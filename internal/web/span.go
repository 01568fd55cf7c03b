package web

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

// maxMS is the longest time since a session's start that can be asked for: about
// 30 years. More would overflow what follows.
const maxMS = 1e12

// A span is a range of events as a request names it. Ends are exclusive; a
// negative end is none.
type span struct {
	fromIndex, toIndex int64
	fromMS, toMS       int64
}

func spanOf(q url.Values) (span, error) {
	p := params{q: q}
	sp := span{
		fromIndex: p.number("from_index", 0, 1<<40), toIndex: p.number("to_index", -1, 1<<40),
		fromMS: p.number("from_ms", 0, maxMS), toMS: p.number("to_ms", -1, maxMS),
	}
	if p.err == nil && (sp.toIndex >= 0 && sp.toIndex < sp.fromIndex || sp.toMS >= 0 && sp.toMS < sp.fromMS) {
		p.err = errBad("The range ends before it begins.")
	}
	return sp, p.err
}

// empty says that no event can be in it.
func (sp span) empty() bool { return sp.toIndex == 0 || sp.toMS == 0 }

// records is the range of a recording that begins at start. Where it ends in time,
// who reads must see: a clock that was set back makes later events look earlier.
func (sp span) records(start time.Time) recording.Range {
	g := recording.Range{FromIndex: sp.fromIndex}
	if sp.toIndex > 0 {
		g.ToIndex = sp.toIndex
	}
	if sp.fromMS > 0 {
		g.FromTime = start.Add(time.Duration(sp.fromMS) * time.Millisecond)
	}
	return g
}

// params reads the parameters of a request and keeps the first error.
type params struct {
	q   url.Values
	err error
}

func (p *params) number(name string, def, most int64) int64 {
	text := p.q.Get(name)
	if text == "" {
		return def
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		p.bad("%s: %q is not a number from 0 to %d.", name, text, most)
		return def
	}
	return n
}

func (p *params) flag(name string, def bool) bool {
	switch text := p.q.Get(name); text {
	case "":
		return def
	case "0", "false":
		return false
	case "1", "true":
		return true
	default:
		p.bad("%s: %q is not 0 or 1.", name, text)
		return def
	}
}

func (p *params) choice(name, def string, of ...string) string {
	text := p.q.Get(name)
	if text == "" {
		return def
	}
	for _, o := range of {
		if o == text {
			return o
		}
	}
	p.bad("%s: %q is not one of %v.", name, text, of)
	return def
}

func (p *params) time(name string) time.Time {
	text := p.q.Get(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 {
		p.bad("%s: %q is not a time like 2026-01-02T15:04:05Z.", name, text)
		return time.Time{}
	}
	return t
}

// maxText bounds what is searched for.
const maxText = 200

func (p *params) text(name string) string {
	text := p.q.Get(name)
	if len(text) > maxText {
		p.bad("%s: %d bytes, at most %d.", name, len(text), maxText)
		return ""
	}
	return text
}

func (p *params) bad(format string, args ...any) {
	if p.err == nil {
		p.err = errBad(fmt.Sprintf(format, args...))
	}
}
