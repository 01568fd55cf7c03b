package accessrecv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A State is how a session stands.
type State string

// States of a session.
const (
	Active State = "active" // it began and has not ended, and is heard of
	Ended  State = "ended"  // it ended; see the reason
	Stale  State = "stale"  // it has not ended, and nobody speaks of it any more
)

// DefaultStaleAfter is three heartbeats of a tracker that sends one every five
// minutes, and a minute on the way.
const DefaultStaleAfter = 16 * time.Minute

// A Session is one row.
type Session struct {
	accesslog.Record
	Heard time.Time // when the record came that the rest is from
	State State
}

// A Filter says which sessions. Zero fields let all through.
type Filter struct {
	User      string
	Resources []int64
	// Since and Until let sessions through that were open at some time from
	// Since on and began before Until.
	Since, Until time.Time
	// Source is an address, a prefix (10.0.0.0/8), host:port, or a host's name.
	Source string
	States []State
	// Limit is how many at most, the newest; 0 for all.
	Limit int
	// StaleAfter is how long an open session may be silent before it is stale;
	// zero means the default.
	StaleAfter time.Duration
}

// Validate says everything that is wrong with the filter at once.
func (f Filter) Validate() error {
	var errs []error
	if f.Limit < 0 {
		errs = append(errs, fmt.Errorf("limit: %d is negative", f.Limit))
	}
	if f.StaleAfter < 0 {
		errs = append(errs, fmt.Errorf("stale after: %s is negative", f.StaleAfter))
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		errs = append(errs, fmt.Errorf("since %s is not before until %s", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339)))
	}
	if _, err := netip.ParsePrefix(f.Source); err != nil && strings.Contains(f.Source, "/") {
		errs = append(errs, fmt.Errorf("source: %.50q is not an address prefix such as 10.0.0.0/8", f.Source))
	}
	for _, s := range f.States {
		if s != Active && s != Ended && s != Stale {
			errs = append(errs, fmt.Errorf("state: %.20q is not one of active, ended, stale", s))
		}
	}
	return errors.Join(errs...)
}

// columns are what scanSession reads.
const columns = `id, resource, source, dest, protocol, user, node, started, ended, bytes_tx, bytes_rx, connections, kind, reason, seq, heard`

func scanSession(row interface{ Scan(...any) error }) (Session, error) {
	var s Session
	var started, heard int64
	var ended sql.NullInt64
	err := row.Scan(&s.SessionID, &s.ResourceID, &s.SourceAddr, &s.DestAddr, &s.Protocol, &s.User, &s.Node, &started, &ended,
		&s.BytesTx, &s.BytesRx, &s.ConnectionCount, &s.Kind, &s.Reason, &s.Seq, &heard)
	if err != nil {
		return s, err
	}
	s.StartedAt, s.Heard = time.UnixMicro(started).UTC(), time.UnixMicro(heard).UTC()
	if ended.Valid {
		s.EndedAt = time.UnixMicro(ended.Int64).UTC()
	}
	return s, nil
}

// Sessions are those that the filter lets through, the last to begin first. It
// reads as it goes, one state of the file.
func (s *Store) Sessions(ctx context.Context, f Filter) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		if err := f.Validate(); err != nil {
			yield(Session{}, fmt.Errorf("list: %w", err))
			return
		}
		stale := s.now().Add(-f.staleAfter())
		where, args := f.where(stale)
		rows, err := s.read.QueryContext(ctx, `SELECT `+columns+` FROM sessions`+where+` ORDER BY started DESC, id LIMIT ?`,
			append(args, f.limit())...)
		if err != nil {
			yield(Session{}, fmt.Errorf("list: %w", err))
			return
		}
		defer func() { _ = rows.Close() }() // what went wrong is in Err
		for rows.Next() {
			session, err := scanSession(rows)
			if err != nil {
				yield(Session{}, fmt.Errorf("list: %w", err))
				return
			}
			session.State = stateOf(&session, stale)
			if !yield(session, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Session{}, fmt.Errorf("list: %w", err))
		}
	}
}

func stateOf(s *Session, stale time.Time) State {
	switch {
	case s.Ended():
		return Ended
	case s.Heard.Before(stale):
		return Stale
	}
	return Active
}

func (f *Filter) staleAfter() time.Duration {
	if f.StaleAfter == 0 {
		return DefaultStaleAfter
	}
	return f.StaleAfter
}

func (f *Filter) limit() int {
	if f.Limit == 0 {
		return math.MaxInt
	}
	return f.Limit
}

func (f *Filter) where(stale time.Time) (string, []any) {
	var conds []string
	var args []any
	add := func(cond string, a ...any) {
		conds, args = append(conds, "("+cond+")"), append(args, a...)
	}
	if f.User != "" {
		add("user = ? AND user <> ''", f.User) // the second part lets the index be used
	}
	if n := len(f.Resources); n > 0 {
		cond := "resource IN (?" + strings.Repeat(", ?", n-1) + ")"
		list := make([]any, n)
		for i, r := range f.Resources {
			list[i] = r
		}
		add(cond, list...)
	}
	if !f.Since.IsZero() {
		add("ended IS NULL OR ended >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("started < ?", f.Until.UnixMicro())
	}
	if f.Source != "" {
		cond, a := sourceIs(f.Source)
		add(cond, a...)
	}
	if len(f.States) > 0 {
		cond, a := statesAre(f.States, stale)
		add(cond, a...)
	}
	if len(conds) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args
}

func statesAre(states []State, stale time.Time) (string, []any) {
	var conds []string
	var args []any
	for _, s := range states {
		switch s {
		case Ended:
			conds = append(conds, "ended IS NOT NULL")
		case Stale:
			conds, args = append(conds, "ended IS NULL AND heard < ?"), append(args, stale.UnixMicro())
		case Active:
			conds, args = append(conds, "ended IS NULL AND heard >= ?"), append(args, stale.UnixMicro())
		}
	}
	return strings.Join(conds, " OR "), args
}

// sourceIs is the condition that the source is what source says; see [Filter].
func sourceIs(source string) (string, []any) {
	if p, err := netip.ParsePrefix(source); err == nil {
		first, last := bounds(p)
		return "source_ip BETWEEN ? AND ?", []any{first, last}
	}
	if ip := sourceIP(source); ip != nil && isAddr(source) {
		return "source_ip = ?", []any{ip}
	}
	source = normalAddr(source)
	if _, port := accesslog.SplitAddr(source); port != "" {
		return "source = ?", []any{source}
	}
	return "source = ? OR substr(source, 1, length(?) + 1) = ? || ':'", []any{source, source, source}
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return err == nil
}

// bounds are the first and the last address of a prefix, as they are stored.
func bounds(p netip.Prefix) (first, last []byte) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	lo := p.Addr().As16()
	hi := lo
	for i := range lo {
		keep := min(max(bits-8*i, 0), 8)
		mask := byte(0xff) >> keep
		lo[i] &^= mask
		hi[i] |= mask
	}
	return lo[:], hi[:]
}
