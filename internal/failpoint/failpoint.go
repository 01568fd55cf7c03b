// Package failpoint makes a program fail at a named place, when its environment
// asks for it. It serves the fault suite: a crash between two writes cannot be
// timed from outside.
//
// TAPEDECK_FAILPOINTS holds name=action pairs with commas between. An action is
//
//	crash     kill -9 of the process itself
//	stop      SIGSTOP of itself: the process goes on when somebody says SIGCONT
//	refuse    the write at that place is not made, and fails
//	lose      the write is made, and fails all the same: its reply is lost
//	trace     nothing; that the place was reached is told
//
// and may end in @n: the n-th time that the place is reached, and only then. The
// default is @1. A name that ends in * stands for all that begin so; each counts
// for itself. What happens is told on standard error in one line that begins with
// "failpoint:".
//
// Without the variable a failpoint is one comparison. With one that makes no sense
// the program does not start: a fault that silently does not happen is no test.
package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Env is the name of the variable.
const Env = "TAPEDECK_FAILPOINTS"

// Errors of writes.
var (
	// ErrRefused is of a write that was not made.
	ErrRefused = errors.New("refused by a failpoint")
	// ErrLost is of a write that was made and whose reply was lost.
	ErrLost = errors.New("reply lost by a failpoint")
)

type point struct {
	name   string // without the star
	prefix bool
	action string
	at     int
}

// names says whether the point is the one of that name, or one of its.
func (p point) names(name string) bool {
	return p.name == name || p.prefix && strings.HasPrefix(name, p.name)
}

type set struct {
	points []point
	mu     sync.Mutex
	hits   map[string]int
}

var active = mustParse(os.Getenv(Env))

func mustParse(spec string) *set {
	s, err := parse(spec)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Env, err)
		os.Exit(2)
	}
	return s
}

func parse(spec string) (*set, error) {
	if spec == "" {
		return nil, nil
	}
	s := &set{hits: map[string]int{}}
	for one := range strings.SplitSeq(spec, ",") {
		name, action, ok := strings.Cut(one, "=")
		p := point{action: action, at: 1}
		if a, n, has := strings.Cut(action, "@"); has {
			at, err := strconv.Atoi(n)
			if err != nil || at < 1 {
				return nil, fmt.Errorf("%q: %q is not a count from 1 up", one, n)
			}
			p.action, p.at = a, at
		}
		switch p.action {
		case "crash", "stop", "refuse", "lose", "trace":
		default:
			return nil, fmt.Errorf("%q: action %q is not known", one, p.action)
		}
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=action", one)
		}
		p.name, p.prefix = strings.CutSuffix(name, "*")
		s.points = append(s.points, p)
	}
	return s, nil
}

// On says whether any failpoint is asked for, for callers that would have to make
// up a name.
func On() bool { return active != nil }

// Hit is a place where the program may crash or stop.
func Hit(name string) {
	if active != nil {
		active.hit(name)
	}
}

// Around makes a write that goes by one or several names. The failpoints are
// name/before and name/after, and name itself for a write that is refused or whose
// reply is lost; its error then wraps [ErrRefused] or [ErrLost].
func Around(write func() error, names ...string) error {
	if active == nil {
		return write()
	}
	action := ""
	for _, name := range names {
		active.hit(name + "/before")
		if a := active.hit(name); a != "" {
			action = a
		}
	}
	if action == "refuse" {
		return ErrRefused
	}
	if err := write(); err != nil {
		return err
	}
	if action == "lose" {
		return ErrLost
	}
	for _, name := range names {
		active.hit(name + "/after")
	}
	return nil
}

// hit counts and does what is asked for, and returns the action.
func (s *set) hit(name string) string {
	s.mu.Lock()
	s.hits[name]++
	n := s.hits[name]
	s.mu.Unlock()
	for _, p := range s.points {
		if p.at != n || !p.names(name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "failpoint: %s %s\n", p.action, name)
		switch p.action {
		case "crash":
			die()
		case "stop":
			halt()
		}
		if p.action != "trace" {
			return p.action
		}
	}
	return ""
}
