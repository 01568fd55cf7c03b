package accesslog_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// killed leaves in file what a tracker leaves there that is killed after f, with
// the bus away.
func killed(t *testing.T, file string, f func(*accesslog.Tracker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		b.away(true)
		own := filepath.Join(t.TempDir(), "own")
		tr, stop := run(t, accesslog.Config{StateFile: own}, b)
		f(tr)
		synctest.Wait()
		left, err := os.ReadFile(own)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, left, 0o600); err != nil {
			t.Fatal(err)
		}
		mustStop(t, stop)
	})
}

// restarted starts a tracker on the file and returns what it sends.
func restarted(t *testing.T, file string) (recs []accesslog.Record) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		_, stop := run(t, accesslog.Config{StateFile: file}, b)
		synctest.Wait()
		mustStop(t, stop)
		recs = b.records()
	})
	return recs
}

func TestReapedSessionHasTheBytesAndTheTimeThatWereLastKnown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	var id string
	var begin time.Time
	killed(t, file, func(tr *accesslog.Tracker) {
		s := tr.Start(flow(1))
		id, begin = s.ID(), time.Now()
		_, _ = s.ToSource(discard{}).Write(make([]byte, 1234))
		time.Sleep(12 * time.Minute)
	})
	recs := restarted(t, file)
	if len(recs) != 1 {
		t.Fatalf("%d records", len(recs))
	}
	r := recs[0]
	lasted := r.EndedAt.Sub(begin)
	if r.SessionID != id || r.Reason != accesslog.ReasonReaped || r.BytesRx != 1234 || r.Seq != 3 || lasted > 12*time.Minute || lasted < 12*time.Minute-20*time.Second {
		t.Errorf("after %s: %+v", lasted, r)
	}
}

func TestEndThatWasSentBeforeTheKillIsSentTheSame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	killed(t, file, func(tr *accesslog.Tracker) { tr.Start(flow(1)).End(accesslog.ReasonClosed) })
	left, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first := restarted(t, file)
	if err := os.WriteFile(file, left, 0o600); err != nil { // as if the start had been killed before it noted the acknowledgement
		t.Fatal(err)
	}
	second := restarted(t, file)
	if len(first) != 1 || len(second) != 1 || first[0] != second[0] || first[0].Reason != accesslog.ReasonClosed {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

func TestStateThatIsTornOrDamagedLosesNoMoreThanThat(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	killed(t, file, func(tr *accesslog.Tracker) {
		for i := range 10 {
			tr.Start(flow(i)).End(accesslog.ReasonClosed)
		}
	})
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if cut%97 != 0 {
			continue
		}
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		sessions := map[string]bool{}
		for line := range bytes.Lines(whole[:cut]) {
			if id, ok := strings.CutPrefix(string(line), `{"sessionId":"`); ok && bytes.HasSuffix(line, []byte("\n")) {
				sessions[id[:16]] = true
			}
		}
		if got := ends(t, restarted(t, file)); len(got) != len(sessions) {
			t.Fatalf("cut at %d: %d sessions, want %d", cut, len(got), len(sessions))
		}
		if again := restarted(t, file); len(again) != 0 {
			t.Fatalf("cut at %d: %d records sent again", cut, len(again))
		}
	}
}

func TestNewerStateIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, []byte("{\"state\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, accesslog.Config{StateFile: file}, newFakeBus(t))
	if err := stop(); err == nil || !strings.Contains(err.Error(), "version 2 is newer than 1") {
		t.Error(err)
	}
}

func TestStateFileBelongsToOneTracker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	tr, stop := run(t, accesslog.Config{StateFile: file}, newFakeBus(t))
	tr.Start(flow(1)).End(accesslog.ReasonClosed)
	eventually(t, "the first has begun", func() bool { return tr.Stats().Sent.End == 1 })
	_, second := run(t, accesslog.Config{StateFile: file}, newFakeBus(t))
	if err := second(); err == nil || !strings.Contains(err.Error(), "another tracker") {
		t.Error(err)
	}
	mustStop(t, stop)
}

func TestStateFileDoesNotGrow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		tr, stop := run(t, accesslog.Config{StateFile: file}, b)
		var open []string
		for i := range 20_000 {
			s := tr.Start(flow(i))
			if i%100 == 0 {
				open = append(open, s.ID())
			} else {
				s.End(accesslog.ReasonClosed)
			}
			if i%50 == 0 {
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 3<<20 {
			t.Errorf("%d bytes for %d open sessions", info.Size(), len(open))
		}
		left, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mustStop(t, stop)
		if err := os.WriteFile(file, left, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if got := ends(t, restarted(t, file)); len(got) != 200 {
		t.Errorf("%d sessions reaped, 200 were open", len(got))
	}
}

func TestRecordsLeftAtTheStopAreKeptOrTold(t *testing.T) {
	for _, file := range []string{"", filepath.Join(t.TempDir(), "state")} {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBus(t)
			b.away(true)
			tr, stop := run(t, accesslog.Config{StateFile: file}, b)
			for i := range 5 {
				tr.Start(flow(i))
			}
			begin := time.Now()
			err := stop()
			if took := time.Since(begin); took != 5*time.Second {
				t.Errorf("stopped after %s", took)
			}
			if file == "" && (err == nil || !strings.Contains(err.Error(), "start=5 alive=0 end=5")) || file != "" && err != nil {
				t.Errorf("with state file %q: %v", file, err)
			}
		})
		if file != "" {
			for _, r := range restarted(t, file) {
				if r.Reason != accesslog.ReasonShutdown {
					t.Errorf("%+v", r)
				}
			}
		}
	}
}

// discard is a connection that takes everything.
type discard struct{ fakeConn }

func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }

func ExampleAppendLine() {
	r := ended(1, 0)
	r.User = "a b"
	fmt.Print(string(accesslog.AppendLine(nil, &r)))
	r.Kind = accesslog.KindStart
	fmt.Print(string(accesslog.AppendLine(nil, &r)))
	// Output:
	// ACCESS END session=0000000000000001 resource=7 proto=tcp src=[2001:db8::1]:1025 dst=10.0.0.1:443 user="a b" started=2026-03-01T12:00:00.000Z ended=2026-03-01T12:00:01.000Z duration=1.000s tx=100 rx=1000 reason=closed
	// ACCESS START session=0000000000000001 resource=7 proto=tcp src=[2001:db8::1]:1025 dst=10.0.0.1:443 user="a b" time=2026-03-01T12:00:00.000Z
}
