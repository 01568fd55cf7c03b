package sessions

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// ErrCursor means that what was given as a cursor is none.
var ErrCursor = errors.New("not a cursor")

// maxWords bounds a search.
const maxWords = 10

// A Query says which sessions are wanted: those that all of its members allow.
type Query struct {
	State, Outcome, Kind, User, Host string
	Text                             string    // every word of it is in the session's metadata
	From, To                         time.Time // it ran at some time between
	May                              token.Token
	After                            string // a cursor: what follows on the page that it ended
	Limit                            int
}

// List returns the sessions of a page, newest first, and the cursor of the next
// page, "" if there is none. A cursor stays good whatever begins or ends
// meanwhile: it names a place in the order, not a number of rows.
func (ix *Index) List(ctx context.Context, q Query) (page []Session, next string, err error) {
	c := q.conditions()
	if q.After != "" {
		started, sid, err := parseCursor(q.After)
		if err != nil {
			return nil, "", err
		}
		c.add("(started, session) < (?, ?)", started, sid)
	}
	args := append(c.args, q.Limit+1)
	page, err = ix.query(ctx, "SELECT body, meta, rev FROM sessions"+c.where()+" ORDER BY started DESC, session DESC LIMIT ?", args)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	if len(page) > q.Limit {
		page = page[:q.Limit]
		next = cursor(page[q.Limit-1])
	}
	return page, next, nil
}

// Changes returns sessions that have changed since a revision, the first change
// first, as far as may lets its holder see them. rev is what to ask with next: it
// also moves over changes that may not be seen.
func (ix *Index) Changes(ctx context.Context, may token.Token, since int64, limit int) (changed []Session, rev int64, err error) {
	newest, err := ix.Rev(ctx)
	if err != nil || newest <= since {
		return nil, since, err
	}
	c := Query{May: may}.conditions()
	c.add("rev > ? AND rev <= ?", since, newest)
	changed, err = ix.query(ctx, "SELECT body, meta, rev FROM sessions"+c.where()+" ORDER BY rev LIMIT ?", append(c.args, limit))
	if err != nil {
		return nil, since, fmt.Errorf("list changes: %w", err)
	}
	if len(changed) == limit {
		newest = changed[limit-1].Rev
	}
	return changed, newest, nil
}

func (ix *Index) query(ctx context.Context, query string, args []any) ([]Session, error) {
	rows, err := ix.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	found := []Session{}
	for rows.Next() {
		s, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, rows.Err()
}

// conditions are what SQL is asked: every one must hold.
type conditions struct {
	sql  []string
	args []any
}

func (c *conditions) add(sql string, args ...any) {
	c.sql, c.args = append(c.sql, sql), append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.sql) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.sql, " AND ")
}

func (q Query) conditions() *conditions {
	c := &conditions{}
	for column, value := range map[string]string{"state": q.State, "outcome": q.Outcome, "kind": q.Kind, "user": q.User, "host": q.Host} {
		if value != "" {
			c.add(column+" = ?", value)
		}
	}
	words := strings.Fields(strings.ToLower(q.Text))
	for _, word := range words[:min(len(words), maxWords)] {
		c.add("instr(text, ?) > 0", word)
	}
	if !q.From.IsZero() {
		c.add("(ended = 0 OR ended >= ?)", q.From.UnixMicro())
	}
	if !q.To.IsZero() {
		c.add("started <= ?", q.To.UnixMicro())
	}
	c.may(q.May)
	return c
}

// may keeps to what a token's holder may see. It means what [token.Token.May] does.
func (c *conditions) may(t token.Token) {
	switch t.Role {
	case token.Admin:
	case token.Auditor:
		c.globs("user", t.Filter.User)
		c.globs("host", t.Filter.Host)
	default:
		c.add("0")
	}
}

func (c *conditions) globs(column string, patterns []string) {
	if len(patterns) == 0 {
		return
	}
	any := []string{"0"}
	for _, p := range patterns {
		if strings.ContainsRune(p, 0) { // GLOB would read it up to there
			continue
		}
		any = append(any, column+" GLOB ?")
		// Only * is special in our patterns; GLOB has more.
		c.args = append(c.args, strings.NewReplacer("[", "[[]", "?", "[?]").Replace(p))
	}
	c.sql = append(c.sql, "("+column+" <> '' AND instr("+column+", char(0)) = 0 AND ("+strings.Join(any, " OR ")+"))")
}

func cursor(s Session) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", micro(s.Started), s.Session))
}

func parseCursor(text string) (started int64, sid string, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %q", ErrCursor, text)
	}
	number, sid, ok := strings.Cut(string(data), " ")
	started, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return 0, "", fmt.Errorf("%w: %q", ErrCursor, text)
	}
	return started, sid, nil
}

// micro is a time as the file has it: 0 for none.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
