package accessrecv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Errors of a file that is not what it should be.
var (
	ErrNoDatabase = errors.New("no access database")
	ErrSchema     = errors.New("not a database of this version")
)

const (
	// applicationID marks our files among SQLite's: "tdal".
	applicationID = 0x7464616c
	schemaVersion = 1
	busyTimeout   = 10 * time.Second
	maxReaders    = 8
)

// migrations[n] brings a file of version n to version n+1. None is ever changed.
var migrations = [schemaVersion]string{`
CREATE TABLE sessions (
	id          TEXT    NOT NULL UNIQUE,
	resource    INTEGER NOT NULL,
	source      TEXT    NOT NULL, -- host:port, [v6]:port, or the host alone
	source_ip   BLOB,             -- 16 bytes, IPv4 mapped; NULL if the host is no address
	dest        TEXT    NOT NULL,
	protocol    TEXT    NOT NULL,
	user        TEXT    NOT NULL,
	node        TEXT    NOT NULL,
	started     INTEGER NOT NULL, -- microseconds since 1970
	ended       INTEGER,          -- NULL: not ended
	bytes_tx    INTEGER NOT NULL,
	bytes_rx    INTEGER NOT NULL,
	connections INTEGER NOT NULL,
	kind        TEXT    NOT NULL,
	reason      TEXT    NOT NULL,
	seq         INTEGER NOT NULL,
	heard       INTEGER NOT NULL  -- when the record came that says this
) STRICT; -- rows in the order in which they came: ids are random, and short beside a row
CREATE INDEX sessions_started  ON sessions (started);
CREATE INDEX sessions_resource ON sessions (resource, started);
CREATE INDEX sessions_user     ON sessions (user, started) WHERE user <> '';
CREATE INDEX sessions_source   ON sessions (source_ip, started);
CREATE INDEX sessions_heard    ON sessions (heard);
CREATE INDEX sessions_open     ON sessions (heard) WHERE ended IS NULL;
CREATE TABLE batches (
	id       TEXT    NOT NULL PRIMARY KEY,
	hash     BLOB    NOT NULL, -- SHA-256 of the body as it came
	records  INTEGER NOT NULL,
	received INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_received ON batches (received);
`}

// A Store is the file with the sessions. Its methods may be called from several
// goroutines.
type Store struct {
	read  *sql.DB
	write *sql.DB // one connection; nil if the store is for reading only
	now   func() time.Time

	mu      sync.Mutex
	waiting []*put
	commit  sync.Mutex // held by who writes
}

// Create opens the file for receiving, and makes it and its directory if there is
// none. Close it.
func Create(ctx context.Context, path string) (*Store, error) {
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("create database %s: %w", path, err)
	}
	s := &Store{now: time.Now}
	err := s.openBoth(ctx, path)
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// Open opens the file for questions only. Its error wraps [ErrNoDatabase] if there
// is none, [ErrSchema] if it is of another version or something else. Close it.
func Open(ctx context.Context, path string) (*Store, error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", path, ErrNoDatabase)
	} else if err == nil && info.Size() == 0 {
		return nil, fmt.Errorf("open %s: %w: the file is empty", path, ErrNoDatabase)
	}
	s := &Store{now: time.Now}
	version, err := s.openRead(ctx, path)
	if err == nil && version != schemaVersion {
		err = fmt.Errorf("%w: version %d, this program reads %d", ErrSchema, version, schemaVersion)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// makeFile makes a file that only its owner can read: it says who went where.
// SQLite gives the files beside it the same mode.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) openRead(ctx context.Context, path string) (has int, err error) {
	if s.read, err = sql.Open("sqlite", dataSource(path, url.Values{"mode": {"ro"}})); err != nil {
		return 0, err
	}
	s.read.SetMaxOpenConns(maxReaders)
	return version(ctx, s.read)
}

// openBoth looks at the file before it changes anything: it may be another's.
func (s *Store) openBoth(ctx context.Context, path string) error {
	has, err := s.openRead(ctx, path)
	if err != nil {
		return err
	}
	if has > schemaVersion {
		return fmt.Errorf("%w: version %d, this program writes %d", ErrSchema, has, schemaVersion)
	}
	// FULL syncs the log at each commit. With NORMAL a power failure could take
	// what was acknowledged. The index of ids is hit all over: 32 MiB keep it in
	// memory, and a log of 16 MiB saves writing its pages again and again.
	s.write, err = sql.Open("sqlite", dataSource(path, url.Values{
		"mode": {"rw"}, "_txlock": {"immediate"},
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-32768)", "wal_autocheckpoint(4096)"},
	}))
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	return nil
}

func dataSource(path string, query url.Values) string {
	// The wait comes first, as changing the journal's mode may have to wait.
	query["_pragma"] = append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, query["_pragma"]...)
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: query.Encode()}
	return u.String()
}

// version is 0 for a file that has nothing in it.
func version(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (int, error) {
	var version, id, tables int
	err := q.QueryRowContext(ctx, `SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version, pragma_application_id`).Scan(&version, &id, &tables)
	if err != nil {
		return 0, err
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return 0, fmt.Errorf("%w: it is some other program's", ErrSchema)
	}
	return version, nil
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of no effect after Commit
	from, err := version(ctx, tx)
	if err != nil {
		return err
	}
	for n := from; n < schemaVersion; n++ {
		if _, err := tx.ExecContext(ctx, migrations[n]); err != nil {
			return fmt.Errorf("bring it from version %d to %d: %w", n, n+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// Close closes the file. What was stored is in it already.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Check fails if the file cannot be read.
func (s *Store) Check(ctx context.Context) error {
	var one int
	if err := s.read.QueryRowContext(ctx, "SELECT 1 FROM sqlite_schema LIMIT 1").Scan(&one); err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	return nil
}
