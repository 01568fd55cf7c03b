package sessions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An entry is a session and what its manifest was when it was read.
type entry struct {
	Session
	seen string
}

// put stores sessions. One that is as it was keeps its revision.
func (ix *Index) put(ctx context.Context, entries ...entry) error {
	return ix.change(ctx, func(tx *sql.Tx) error { return putAll(ctx, tx, entries) })
}

func (ix *Index) change(ctx context.Context, f func(tx *sql.Tx) error) error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	tx, err := ix.write.BeginTx(ctx, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // of no effect after Commit
		err = f(tx)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// A revision is the time of the change in microseconds, or one more than the last:
// so one from before the file was made anew is still below all that come.
const putSQL = `
INSERT INTO sessions (session, state, outcome, kind, user, host, started, ended, text, body, meta, seen, rev)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT max(coalesce(max(rev), 0) + 1, ?) FROM sessions))
ON CONFLICT (session) DO UPDATE SET (state, outcome, kind, user, host, started, ended, text, body, meta, seen, rev) =
	(excluded.state, excluded.outcome, excluded.kind, excluded.user, excluded.host, excluded.started, excluded.ended,
	 excluded.text, excluded.body, excluded.meta, excluded.seen,
	 CASE WHEN (body, meta) = (excluded.body, excluded.meta) THEN rev ELSE excluded.rev END)
WHERE (body, meta, seen) <> (excluded.body, excluded.meta, excluded.seen)`

func putAll(ctx context.Context, tx *sql.Tx, entries []entry) error {
	for _, e := range entries {
		body, err := json.Marshal(e.Session)
		if err != nil {
			return err
		}
		meta, err := json.Marshal(e.Metadata)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, putSQL, e.Session.Session, e.State, e.Outcome, e.Kind, e.User, e.Host,
			micro(e.Started), micro(e.Ended), e.text(), string(body), string(meta), e.seen, time.Now().UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}

// known returns what each session's manifest was when it was read.
func (ix *Index) known(ctx context.Context) (map[string]string, error) {
	rows, err := ix.read.QueryContext(ctx, "SELECT session, seen FROM sessions")
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]string{}
	for rows.Next() {
		var sid, seen string
		if err := rows.Scan(&sid, &seen); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		all[sid] = seen
	}
	return all, rows.Err()
}

// remove takes sessions out that are no more.
func (ix *Index) remove(ctx context.Context, sids ...string) error {
	if len(sids) == 0 {
		return nil
	}
	return ix.change(ctx, func(tx *sql.Tx) error {
		for _, sid := range sids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE session = ?", sid); err != nil {
				return err
			}
		}
		return nil
	})
}

// A Verdict is what a check of a recording found.
type Verdict struct {
	OK       bool     `json:"ok"`
	Text     string   `json:"text"`
	Verdict  string   `json:"verdict"`
	Problems []string `json:"problems,omitempty"`
}

// SetVerdict remembers what a check found, of the recording that of tells from
// any other.
func (ix *Index) SetVerdict(ctx context.Context, sid, of string, v Verdict) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ix.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO verdicts (session, seen, body) VALUES (?, ?, ?)", sid, of, string(body))
		return err
	})
}

// Verdict returns what the last check of that recording found, or nil.
func (ix *Index) Verdict(ctx context.Context, sid, of string) (*Verdict, error) {
	var body []byte
	err := ix.read.QueryRowContext(ctx, "SELECT body FROM verdicts WHERE session = ? AND seen = ?", sid, of).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	v := &Verdict{}
	return v, json.Unmarshal(body, v)
}
