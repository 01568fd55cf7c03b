package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv"
)

type accessLsCommand struct {
	User       string        `help:"Only sessions of this user." placeholder:"NAME"`
	Resource   []int64       `help:"Only sessions to this resource; several with commas." placeholder:"N" sep:","`
	Source     string        `help:"Only sessions from here: an address, a prefix (10.0.0.0/8), host:port, or a name." placeholder:"ADDRESS"`
	Since      string        `help:"Only sessions that were open at this time or later: how long ago (24h), a day (2006-01-02), or a time (2006-01-02T15:04:05Z)." placeholder:"WHEN"`
	Until      string        `help:"Only sessions that began before; as --since." placeholder:"WHEN"`
	Active     bool          `help:"Only sessions that are open and heard of; the same as --state active." xor:"state"`
	State      []string      `help:"Only these: active, ended or stale; several with commas." enum:"active,ended,stale" sep:"," placeholder:"STATE" xor:"state"`
	StaleAfter time.Duration `help:"An open session that was not heard of for so long is stale. It should be three heartbeats of the proxies, which by default send one every 5m." default:"16m" placeholder:"DURATION"`
	Limit      int           `help:"List this many at most, the newest; 0 for all." default:"100" placeholder:"N"`
	Format     string        `help:"table, json (one object a line) or csv." enum:"table,json,csv" default:"table"`
	DB         string        `name:"db" help:"SQLite file of the receiver." default:"${dir}/access.db" env:"TAPEDECK_ACCESS_DB" type:"path" placeholder:"FILE"`
}

// Run lists access sessions, the last to begin first.
func (c *accessLsCommand) Run(ctx context.Context, s Streams, _ *slog.Logger) error {
	filter, err := c.filter(time.Now())
	if err != nil {
		return withStatus(exitUsage, err)
	}
	store, err := accessrecv.Open(ctx, c.DB)
	if errors.Is(err, accessrecv.ErrNoDatabase) {
		return fmt.Errorf("%w (name another with --db, or begin one with: tapedeck access receive)", err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // it was only read
	list := newAccessList(s.Out, c.Format)
	found := 0
	for session, err := range store.Sessions(ctx, filter) {
		if err != nil {
			return err
		}
		if found++; found > c.Limit && c.Limit > 0 {
			fmt.Fprintf(s.Err, "these are the newest %d, there are more (--limit 0 lists all)\n", c.Limit)
			break
		}
		if err := list.add(session); err != nil {
			return err
		}
	}
	if found == 0 && c.Format == "table" {
		fmt.Fprintln(s.Err, "no such access sessions")
		return nil
	}
	return list.end()
}

func (c *accessLsCommand) filter(now time.Time) (accessrecv.Filter, error) {
	f := accessrecv.Filter{User: c.User, Resources: c.Resource, Source: c.Source, Limit: c.Limit, StaleAfter: c.StaleAfter}
	if c.Limit > 0 {
		f.Limit++ // to tell whether there are more
	}
	for _, state := range c.State {
		f.States = append(f.States, accessrecv.State(state))
	}
	if c.Active {
		f.States = []accessrecv.State{accessrecv.Active}
	}
	var errs [3]error
	f.Since, errs[0] = parseWhen("since", c.Since, now)
	f.Until, errs[1] = parseWhen("until", c.Until, now)
	if c.StaleAfter <= 0 {
		errs[2] = fmt.Errorf("stale after: %s is not more than 0", c.StaleAfter)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return f, err
	}
	return f, f.Validate()
}

// parseWhen reads how long ago, a day in this zone, or a time. Nothing is no time.
func parseWhen(name, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", time.DateTime, "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, strings.ToUpper(s)); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%s: %.50q is not a duration (24h), a day (2006-01-02) or a time (2006-01-02T15:04:05Z)", name, s)
}
