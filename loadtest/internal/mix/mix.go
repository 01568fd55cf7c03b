// Package mix makes the sessions that a load test records: what their events are
// and how often they come.
//
// A session is a function of its seed and number alone. The same event is the same
// bytes whenever it is made, so that a recording can be compared with what was sent
// without keeping a copy of it.
package mix

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A Kind is one sort of session.
type Kind struct {
	Name string
	// Every is the time between two events at the natural rate.
	Every time.Duration
	// Events is how many events a session has before its session.end; 0 if it goes on
	// for as long as the test.
	Events int64
	source source
}

// Kinds are all there are.
var Kinds = []Kind{
	{"typing", 120 * time.Millisecond, 0, terminal("shell-colours.cast", "vim-unicode-resize.cast", "htop.cast")},
	{"flood", 2 * time.Millisecond, 0, terminal("flood.cast")},
	{"desktop", 40 * time.Millisecond, 0, desktop},
	{"idle", time.Minute, 0, terminal("shell-colours.cast")},
	{"exec", 50 * time.Millisecond, 6, terminal("shell-colours.cast")},
	{"uniform", 10 * time.Millisecond, 0, uniform},
}

// KindByName is the kind of that name.
func KindByName(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// A Mix says how many of a test's sessions are of which kind.
type Mix []Share

// A Share is a kind's part of a mix.
type Share struct {
	Kind   Kind
	Weight float64
}

// ErrMix is in the error of a mix that cannot be read.
var ErrMix = errors.New("not a mix of sessions")

// Parse reads a mix written as typing=60,flood=5.
func Parse(s string) (Mix, error) {
	var m Mix
	for item := range strings.SplitSeq(s, ",") {
		name, weight, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			weight = "1"
		}
		k, known := KindByName(name)
		w, err := strconv.ParseFloat(weight, 64)
		if !known || err != nil || !(w > 0) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("%q: %w: want KIND=WEIGHT with one of %s", item, ErrMix, kindNames())
		}
		m = append(m, Share{k, w})
	}
	return m, nil
}

func kindNames() string {
	var names []string
	for _, k := range Kinds {
		names = append(names, k.Name)
	}
	return strings.Join(names, ", ")
}

// Spread gives each of n sessions its kind, by largest remainder: the shares are
// kept as exactly as whole sessions allow, and every kind is spread over the numbers
// rather than in one run, so that a ramp has the whole mix from its beginning.
func (m Mix) Spread(n int) []Kind {
	total := 0.0
	for _, s := range m {
		total += s.Weight
	}
	given := make([]float64, len(m))
	kinds := make([]Kind, n)
	for i := range kinds {
		order := make([]int, len(m))
		for k := range order {
			order[k] = k
		}
		owed := func(k int) float64 { return m[k].Weight/total*float64(i+1) - given[k] }
		sort.SliceStable(order, func(a, b int) bool { return owed(order[a]) > owed(order[b]) })
		kinds[i] = m[order[0]].Kind
		given[order[0]]++
	}
	return kinds
}
