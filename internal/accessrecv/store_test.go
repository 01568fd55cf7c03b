package accessrecv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestRecordsInAnyOrderAndNumberAreOneRow(t *testing.T) {
	early := rec(1, accesslog.KindAlive, 2)
	early.StartedAt = early.StartedAt.Add(-time.Minute) // somebody knew better
	nobody := rec(1, accesslog.KindAlive, 4)
	nobody.User, nobody.Node = "", ""
	later := fieldRec(1)
	later.BytesRx += 5
	tests := []struct {
		name string
		recs []accesslog.Record
		want accesslog.Record // less the start, which is the earliest
	}{
		{"a start", []accesslog.Record{rec(1, accesslog.KindStart, 0)}, rec(1, accesslog.KindStart, 0)},
		{"start and heartbeats", []accesslog.Record{rec(1, accesslog.KindStart, 0), rec(1, accesslog.KindAlive, 1), early}, rec(1, accesslog.KindAlive, 2)},
		{"all", []accesslog.Record{rec(1, accesslog.KindStart, 0), rec(1, accesslog.KindAlive, 1), early, rec(1, accesslog.KindEnd, 3)}, rec(1, accesslog.KindEnd, 3)},
		{"an end numbered below a heartbeat", []accesslog.Record{rec(1, accesslog.KindAlive, 7), rec(1, accesslog.KindEnd, 3)}, rec(1, accesslog.KindEnd, 3)},
		{"a heartbeat that knows no user", []accesslog.Record{rec(1, accesslog.KindStart, 0), nobody}, rec(1, accesslog.KindAlive, 4)},
		{"the field's, and more bytes", []accesslog.Record{fieldRec(1), later}, later},
		{"the field's and ours", []accesslog.Record{fieldRec(1), rec(1, accesslog.KindStart, 0), rec(1, accesslog.KindEnd, 3)}, rec(1, accesslog.KindEnd, 3)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := test.recs[0].StartedAt
			for _, r := range test.recs {
				if r.StartedAt.Before(start) {
					start = r.StartedAt
				}
			}
			want := test.want
			want.StartedAt, want.ConnectionCount = start, 1
			s := create(t)
			for round := range 10 {
				recs := append(append([]accesslog.Record{}, test.recs...), test.recs...)
				rand.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
				for i := range recs {
					recs[i].SessionID = fmt.Sprintf("s%d", round)
				}
				cut := rand.IntN(len(recs) + 1)
				store(t, s, recs[:cut]...)
				store(t, s, recs[cut:]...)
				want.SessionID = fmt.Sprintf("s%d", round)
				got := find(t, s, want.SessionID)
				if !reflect.DeepEqual(got.Record, want) {
					t.Fatalf("stored\n%+v, want\n%+v, of\n%+v", got.Record, want, recs)
				}
			}
			if got := sessions(t, s, Filter{}); len(got) != 10 {
				t.Fatalf("%d rows of 10 sessions", len(got))
			}
		})
	}
}

func find(t *testing.T, s *Store, id string) Session {
	t.Helper()
	for _, session := range sessions(t, s, Filter{}) {
		if session.SessionID == id {
			return session
		}
	}
	t.Fatalf("no session %s", id)
	return Session{}
}

func TestALateRecordIsNoSignOfLife(t *testing.T) {
	s := create(t)
	now := began
	s.now = func() time.Time { return now }
	store(t, s, rec(1, accesslog.KindAlive, 3))
	now = now.Add(time.Hour)
	older := rec(1, accesslog.KindStart, 0)
	older.StartedAt = older.StartedAt.Add(-time.Minute)
	store(t, s, older, rec(1, accesslog.KindAlive, 3))
	got := find(t, s, rec(1, "", 0).SessionID)
	if got.State != Stale || !got.Heard.Equal(began) || !got.StartedAt.Equal(older.StartedAt) {
		t.Fatalf("%+v", got)
	}
	store(t, s, rec(1, accesslog.KindAlive, 4))
	if got = find(t, s, got.SessionID); got.State != Active || !got.Heard.Equal(now) {
		t.Fatalf("%+v", got)
	}
}

func TestBatchesPutTogetherAreEachStored(t *testing.T) {
	s := create(t)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%3 == 0 {
				cancel() // who comes first must not spoil it for the others
			}
			defer cancel()
			b := Batch{ID: fmt.Sprint(i), Records: []accesslog.Record{rec(i, accesslog.KindEnd, 1), rec(i%10, accesslog.KindEnd, 1)}}
			if err := s.Put(ctx, b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := sessions(t, s, Filter{}); len(got) != 200 {
		t.Fatalf("%d sessions, want 200", len(got))
	}
	for i := range 200 {
		if n, known, err := s.Known(t.Context(), fmt.Sprint(i), [32]byte{}); n != 2 || !known || err != nil {
			t.Fatalf("batch %d: %d records, known %t, %v", i, n, known, err)
		}
	}
	if _, known, err := s.Known(t.Context(), "1", [32]byte{1}); known || err != nil {
		t.Fatalf("another body: known %t, %v", known, err)
	}
}

func TestOldSessionsAndBatchesAreForgotten(t *testing.T) {
	s := create(t)
	now := began
	s.now = func() time.Time { return now }
	var recs []accesslog.Record
	for i := range 2500 {
		recs = append(recs, rec(i, accesslog.KindEnd, 1))
	}
	if err := s.Put(t.Context(), Batch{ID: "old", Records: recs}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if err := s.Put(t.Context(), Batch{ID: "new", Records: []accesslog.Record{rec(9000, accesslog.KindEnd, 1)}}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Forget(t.Context(), time.Time{}, began.Add(time.Minute)); n != 0 || err != nil {
		t.Fatalf("%d sessions gone, %v", n, err)
	}
	_, old, _ := s.Known(t.Context(), "old", [32]byte{})
	_, young, err := s.Known(t.Context(), "new", [32]byte{})
	if old || !young || err != nil {
		t.Fatalf("old batch known %t, new %t, %v", old, young, err)
	}
	if n, err := s.Forget(t.Context(), began.Add(time.Minute), time.Time{}); n != 2500 || err != nil {
		t.Fatalf("%d sessions gone, %v", n, err)
	}
	if got := sessions(t, s, Filter{}); len(got) != 1 {
		t.Fatalf("%d sessions left", len(got))
	}
}

func TestAFileThatIsNotOursIsRefusedAndLeftAsItIs(t *testing.T) {
	foreign := func(t *testing.T, path, text string) {
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.ExecContext(t.Context(), text)
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		make  func(t *testing.T, path string)
		says  string
		isErr error
	}{
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("no database\n", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a database", nil},
		{"another program's", func(t *testing.T, path string) { foreign(t, path, "CREATE TABLE a (b)") }, "some other program's", ErrSchema},
		{"a newer version's", func(t *testing.T, path string) {
			foreign(t, path, fmt.Sprintf("CREATE TABLE a (b); PRAGMA application_id = %d; PRAGMA user_version = 99", applicationID))
		}, "version 99", ErrSchema},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			for name, open := range map[string]func(context.Context, string) (*Store, error){"Create": Create, "Open": Open} {
				s, err := open(t.Context(), path)
				if err == nil {
					t.Fatalf("%s: %v", name, s.Close())
				}
				if !strings.Contains(err.Error(), test.says) || test.isErr != nil && !errors.Is(err, test.isErr) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Fatalf("the file was changed, %v", err)
			}
		})
	}
	for name, path := range map[string]string{"nothing there": filepath.Join(t.TempDir(), "none"), "nothing in it": filepath.Join(t.TempDir(), "empty")} {
		if name == "nothing in it" {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(t.Context(), path); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheFileIsForItsOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s, err := Create(t.Context(), filepath.Join(dir, "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	store(t, s, rec(1, accesslog.KindEnd, 1))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d files, want the database, its log and its index: %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := s.write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", pragma, got, want, err)
		}
	}
}
