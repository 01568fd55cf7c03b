package spool_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

func openDir(t testing.TB, max int64) *spool.Dir {
	t.Helper()
	d, err := spool.OpenDir(filepath.Join(t.TempDir(), "spool"), max)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t testing.TB, d *spool.Dir, sid string, first int64) *spool.File {
	t.Helper()
	f, err := d.Create(spool.Header{Node: "node", SID: sid, First: first, Note: "note"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func oneof(i int64) []byte { return bytes.Repeat([]byte{byte(i)}, 10+int(i)%500) }

func add(t testing.TB, f *spool.File, from, to int64) {
	t.Helper()
	var evs []spool.Event
	for i := from; i < to; i++ {
		evs = append(evs, spool.Event{Index: i, OneOf: oneof(i)})
	}
	if err := f.Append(evs...); err != nil {
		t.Fatal(err)
	}
}

// mustRead: the reader gives the events from up to to, and no more.
func mustRead(t testing.TB, r *spool.Reader, from, to int64) {
	t.Helper()
	for i := from; i < to; i++ {
		e, err := r.Next()
		if err != nil || e.Index != i || !bytes.Equal(e.OneOf, oneof(i)) {
			t.Fatalf("event %d: index %d, %d bytes, %v", i, e.Index, len(e.OneOf), err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("behind event %d: %v", to, err)
	}
}

func TestWhatWasAcceptedIsThereAfterAnotherProcessOpensIt(t *testing.T) {
	d := openDir(t, 0)
	f := create(t, d, "sid", 7)
	r := f.NewReader()
	add(t, f, 7, 8)
	mustRead(t, r, 7, 8)
	add(t, f, 8, 3000)
	mustRead(t, r, 8, 3000)
	if err := f.End(); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(spool.Event{Index: 3000}); err == nil {
		t.Error("an event was taken behind the end")
	}
	if _, err := d.Open(spool.NameOf("node", "sid")); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("opened while it is in use: %v", err)
	}
	if info, err := d.Look(spool.NameOf("node", "sid")); err != nil || !info.InUse || info.Events != 2993 {
		t.Errorf("look: %+v, %v", info, err)
	}
	f.Close()

	f, err := d.Open(spool.NameOf("node", "sid"))
	if err != nil {
		t.Fatal(err)
	}
	info := f.Info()
	if !info.Ended || info.Next != 3000 || info.Header.First != 7 || info.Header.Note != "note" || info.Torn != 0 {
		t.Errorf("%+v", info)
	}
	mustRead(t, f.NewReader(), 7, 3000)
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if u, err := d.Usage(); err != nil || u.Sessions != 0 || u.Bytes != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// A crash can end a write anywhere.
func TestAHalfWrittenEndIsTakenAway(t *testing.T) {
	d := openDir(t, 0)
	f := create(t, d, "sid", 0)
	add(t, f, 0, 3)
	good := f.Info().Bytes
	add(t, f, 3, 5)
	f.Close()
	path := filepath.Join(d.Path(), spool.NameOf("node", "sid"))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := good; cut < int64(len(whole)); cut++ {
		torn := whole[:cut]
		if cut%2 == 1 && cut > good { // and its last bytes need not be what was written
			torn = append(bytes.Clone(torn[:cut-1]), 0)
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := d.Open(spool.NameOf("node", "sid"))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if info := f.Info(); info.Next != 3 || info.Torn != cut-good {
			t.Fatalf("cut at %d of %d: %+v", cut, good, info)
		}
		add(t, f, 3, 4)
		mustRead(t, f.NewReader(), 0, 4)
		f.Close()
	}
}

func TestDamageBeforeTheEndIsToldAndNothingTakenAway(t *testing.T) {
	d := openDir(t, 0)
	f := create(t, d, "sid", 0)
	for i := range int64(5) {
		add(t, f, i, i+1)
	}
	f.Close()
	path := filepath.Join(d.Path(), spool.NameOf("node", "sid"))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(whole) - 22 - 14 { // all but the last record
		bad := bytes.Clone(whole)
		bad[at] ^= 0x41
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := d.Open(spool.NameOf("node", "sid"))
		if err == nil {
			t.Fatalf("byte %d is wrong: opened with %+v", at, f.Info())
		}
		if !errors.Is(err, spool.ErrDamaged) && !errors.Is(err, spool.ErrVersion) {
			t.Fatalf("byte %d is wrong: %v", at, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, bad) {
			t.Fatalf("byte %d is wrong: the file was changed", at)
		}
	}
}

func TestAFullDirectoryRefusesAndDropsNothing(t *testing.T) {
	d := openDir(t, 20_000)
	a, b := create(t, d, "a", 0), create(t, d, "b", 0)
	add(t, a, 0, 20)
	n := int64(0)
	var err error
	for ; err == nil && n < 1000; n++ {
		err = b.Append(spool.Event{Index: n, OneOf: oneof(n)})
	}
	if !errors.Is(err, spool.ErrFull) {
		t.Fatal(err)
	}
	n--
	mustRead(t, b.NewReader(), 0, n)
	if err := b.End(); err != nil { // needs no room
		t.Fatal(err)
	}
	if u, err := d.Usage(); err != nil || u.Sessions != 2 || u.Bytes > u.Max+100 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := b.Remove(); err != nil {
		t.Fatal(err)
	}
	add(t, a, 20, 40)
	mustRead(t, a.NewReader(), 0, 40)
	// Another process's bytes count too, a moment later.
	other, err := spool.OpenDir(d.Path(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Create(spool.Header{Node: "node", SID: "c"}); !errors.Is(err, spool.ErrFull) {
		t.Errorf("a session in a directory that another has filled: %v", err)
	}
}

func TestAnEventThatIsTooLargeIsRefused(t *testing.T) {
	f := create(t, openDir(t, 0), "sid", 0)
	if err := f.Append(spool.Event{OneOf: make([]byte, events.MaxOneOf+1)}); err == nil {
		t.Error("it was taken")
	}
	if err := f.Append(spool.Event{OneOf: make([]byte, events.MaxOneOf)}); err != nil {
		t.Error(err)
	}
}

func TestAFileOfANewerVersionIsLeftAlone(t *testing.T) {
	d := openDir(t, 0)
	f := create(t, d, "sid", 0)
	f.Close()
	path := filepath.Join(d.Path(), "node.sid.spool")
	if err := os.WriteFile(path, spool.FrameForTest([]byte(`H{"v":2,"what":1}`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open("node.sid.spool"); !errors.Is(err, spool.ErrVersion) {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	f := create(b, openDir(b, 1<<40), "sid", 0)
	rec := bytes.Repeat([]byte("x"), 300)
	b.SetBytes(300)
	for i := 0; b.Loop(); i++ {
		if err := f.Append(spool.Event{Index: int64(i), OneOf: rec}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
