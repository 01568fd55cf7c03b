// Package health says whether work gets through, to whoever asks over HTTP.
//
// A process that lives is not one that works: a slicer whose store refuses every
// part, or whose cursor stands still, answers as quickly as ever. So a service hands
// in checks that look at what its work has come to, and this package asks them. Each
// answer names what is wrong and since when.
//
// There are two questions. Ready asks for now: any problem makes it fail. Live asks
// whether the process should be started again: it fails only for a problem that has
// lasted for [Grace], so that a bus that is started again has nobody restart the
// services that wait for it, and for none that a restart cannot mend ([NoRestart]).
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Grace is how long a problem may last before a service is not live.
const Grace = 2 * time.Minute

// every is how often a Monitor looks by itself, so that it knows since when
// something is wrong however rarely it is asked.
const every = 5 * time.Second

// A Check is nil while what it looks at works, and else says what is wrong. It is
// quick, asks nobody over the network, and may be called at any time.
type Check = func(context.Context) error

// NoRestart marks a problem that a restart of the process would not mend, or would
// make worse: the store is away, one session among many holds something up. Ready
// fails for it and Live does not, however long it lasts. nil stays nil. Of a joined
// error one that is marked marks all.
func NoRestart(err error) error {
	if err == nil {
		return nil
	}
	return noRestart{err}
}

type noRestart struct{ error }

func (e noRestart) Unwrap() error { return e.error }

// Checks are a service's, by name.
type Checks = map[string]Check

// A Monitor asks checks. The zero value has none, and says that nothing is at work
// until it has. Its methods may be called from several goroutines.
type Monitor struct {
	mu     sync.Mutex
	checks []check
	idle   check            // what fails while there are none
	now    func() time.Time // nil: time.Now
}

type check struct {
	name  string
	ask   Check
	since time.Time // when it began to fail; zero: it does not
	stuck time.Time // the same, with a problem that a restart may mend
}

// Add adds the checks of a service, under its name and a dot.
func (m *Monitor) Add(service string, cs Checks) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, ask := range cs {
		m.checks = append(m.checks, check{name: service + "." + name, ask: ask})
	}
	slices.SortFunc(m.checks, func(a, b check) int { return cmp.Compare(a.name, b.name) })
}

// Run looks now and then until ctx is done.
func (m *Monitor) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		m.Report(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// A Report is what all checks said.
type Report struct {
	Live   bool      `json:"live"`
	Ready  bool      `json:"ready"`
	At     time.Time `json:"at"`
	Checks []Result  `json:"checks"`
}

// A Result is what one check said.
type Result struct {
	Name    string     `json:"name"`
	OK      bool       `json:"ok"`
	Problem string     `json:"problem,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Seconds float64    `json:"seconds,omitempty"` // since then
}

// Report asks all checks.
func (m *Monitor) Report(ctx context.Context) Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.now != nil {
		now = m.now()
	}
	r := Report{Live: true, Ready: true, At: now.UTC().Truncate(time.Millisecond), Checks: []Result{}}
	checks := m.checks
	if len(checks) == 0 {
		if m.idle.ask == nil {
			m.idle = check{name: "start", ask: func(context.Context) error { return errors.New("nothing is at work yet") }}
		}
		checks = []check{m.idle}
		defer func() { m.idle = checks[0] }()
	}
	for i := range checks {
		c := &checks[i]
		err := c.ask(ctx)
		if err == nil {
			c.since, c.stuck = time.Time{}, time.Time{}
			r.Checks = append(r.Checks, Result{Name: c.name, OK: true})
			continue
		}
		if c.since.IsZero() {
			c.since = now
		}
		since := c.since.UTC().Truncate(time.Millisecond)
		r.Ready = false
		if errors.As(err, new(noRestart)) {
			c.stuck = time.Time{}
		} else if c.stuck.IsZero() {
			c.stuck = now
		}
		r.Live = r.Live && (c.stuck.IsZero() || now.Sub(c.stuck) < Grace)
		r.Checks = append(r.Checks, Result{Name: c.name, Problem: oneLine(err), Since: &since, Seconds: now.Sub(c.since).Seconds()})
	}
	return r
}

// Problems says what is wrong in one line; "" if nothing is.
func (r Report) Problems() string {
	var all []string
	for _, c := range r.Checks {
		if !c.OK {
			all = append(all, fmt.Sprintf("%s: %s (for %.0f s)", c.Name, c.Problem, c.Seconds))
		}
	}
	return strings.Join(all, "; ")
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
