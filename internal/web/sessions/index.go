package sessions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// ErrNotFound means that the index has no such session.
var ErrNotFound = errors.New("session is not in the index")

const (
	applicationID = 0x7464736c // "tdsl": marks our files among SQLite's
	// schemaVersion is that of the table. A file of another is made anew: nothing
	// in it is worth bringing along.
	schemaVersion = 1
	busyTimeout   = 10 * time.Second
	maxReaders    = 8
)

const schema = `
CREATE TABLE sessions (
	session TEXT    NOT NULL PRIMARY KEY,
	state   TEXT    NOT NULL,
	outcome TEXT    NOT NULL,
	kind    TEXT    NOT NULL,
	user    TEXT    NOT NULL,
	host    TEXT    NOT NULL,
	started INTEGER NOT NULL, -- microseconds since 1970; 0: not known
	ended   INTEGER NOT NULL, -- 0: not over
	text    TEXT    NOT NULL, -- what a search looks in
	body    TEXT    NOT NULL, -- Session as JSON
	meta    TEXT    NOT NULL, -- its metadata as JSON
	seen    TEXT    NOT NULL, -- what the manifest was when it was read; '' if there was none
	rev     INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_started ON sessions (started DESC, session DESC);
CREATE INDEX sessions_open    ON sessions (state) WHERE state <> 'finished';
CREATE TABLE verdicts (session TEXT NOT NULL PRIMARY KEY, seen TEXT NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
`

// An Index is the file. Its methods may be called from several goroutines, and
// several processes may open one file.
type Index struct {
	path  string
	read  *sql.DB
	write *sql.DB // one connection

	mu sync.Mutex // held by who writes
}

// Open opens the file, and makes it, or makes it anew if it is not one that this
// program can use. Close it.
func Open(ctx context.Context, path string) (*Index, error) {
	ix, err := open(ctx, path)
	if err == nil || ctx.Err() != nil || errors.Is(err, errForeign) {
		return ix, err
	}
	// Whatever is wrong with it, it is derived.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if rerr := os.Remove(path + suffix); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			return nil, errors.Join(err, rerr)
		}
	}
	return open(ctx, path)
}

// errForeign: the file is some other program's, and is left alone.
var errForeign = errors.New("it is some other program's")

func open(ctx context.Context, path string) (*Index, error) {
	ix := &Index{path: path}
	if err := ix.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", path, err), ix.Close())
	}
	return ix, nil
}

func (ix *Index) open(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(ix.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(ix.path, os.O_RDWR|os.O_CREATE, 0o600) // it says who did what
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// Nothing is lost with it, so nothing is synced.
	ix.write, err = sql.Open("sqlite", dataSource(ix.path, url.Values{
		"mode": {"rw"}, "_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(OFF)"},
	}))
	if err != nil {
		return err
	}
	ix.write.SetMaxOpenConns(1)
	if ix.read, err = sql.Open("sqlite", dataSource(ix.path, url.Values{"mode": {"ro"}})); err != nil {
		return err
	}
	ix.read.SetMaxOpenConns(maxReaders)
	return ix.migrate(ctx)
}

func dataSource(path string, query url.Values) string {
	// The wait comes first, as changing the journal's mode may have to wait.
	query["_pragma"] = append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, query["_pragma"]...)
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: query.Encode()}
	return u.String()
}

var errVersion = errors.New("another version of the index")

func (ix *Index) migrate(ctx context.Context) error {
	tx, err := ix.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of no effect after Commit
	var version, id, tables int
	err = tx.QueryRowContext(ctx, `SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version, pragma_application_id`).Scan(&version, &id, &tables)
	switch {
	case err != nil:
		return err
	case tables == 0:
	case id != applicationID:
		return errForeign
	case version != schemaVersion:
		return errVersion
	default:
		return nil
	}
	_, err = tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion))
	if err != nil {
		return err
	}
	return tx.Commit()
}

// Path is where the file is.
func (ix *Index) Path() string { return ix.path }

// Close closes the file.
func (ix *Index) Close() error {
	var errs []error
	for _, db := range []*sql.DB{ix.read, ix.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Get returns one session, or an error that wraps ErrNotFound.
func (ix *Index) Get(ctx context.Context, sid string) (Session, error) {
	s, err := scan(ix.read.QueryRowContext(ctx, "SELECT body, meta, rev FROM sessions WHERE session = ?", sid))
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, fmt.Errorf("find %s: %w", sid, ErrNotFound)
	}
	return s, err
}

func scan(row interface{ Scan(...any) error }) (Session, error) {
	var body, meta []byte
	var rev int64
	if err := row.Scan(&body, &meta, &rev); err != nil {
		return Session{}, err
	}
	var s Session
	if err := errors.Join(json.Unmarshal(body, &s), json.Unmarshal(meta, &s.Metadata)); err != nil {
		return Session{}, fmt.Errorf("read the index: %w", err)
	}
	s.Rev = rev
	return s, nil
}

// Rev is the newest revision: it grows when a session changes.
func (ix *Index) Rev(ctx context.Context) (rev int64, err error) {
	err = ix.read.QueryRowContext(ctx, "SELECT coalesce(max(rev), 0) FROM sessions").Scan(&rev)
	return rev, err
}
