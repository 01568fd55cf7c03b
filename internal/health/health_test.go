package health

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// get asks a handler and returns status and report.
func get(t *testing.T, h http.Handler) (int, Report) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	var r Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	return w.Code, r
}

func TestAProblemEndsReadyAtOnceAndLiveAfterTheGrace(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var wrong error
	m := &Monitor{now: func() time.Time { return now }}
	m.Add("slicer", Checks{"s3": func(context.Context) error { return wrong }, "nats": func(context.Context) error { return nil }})
	ask := func(live, ready int) Report {
		t.Helper()
		gotLive, _ := get(t, m.Live())
		gotReady, r := get(t, m.Ready())
		if gotLive != live || gotReady != ready {
			t.Fatalf("live %d and ready %d, want %d and %d: %+v", gotLive, gotReady, live, ready, r)
		}
		return r
	}
	ask(200, 200)
	wrong = errors.New("no call\nsucceeded")
	ask(200, 503)
	now = now.Add(Grace - time.Second)
	r := ask(200, 503)
	if c := r.Checks[1]; len(r.Checks) != 2 || c.Name != "slicer.s3" || c.OK || c.Problem != "no call; succeeded" || c.Seconds != (Grace-time.Second).Seconds() {
		t.Fatalf("checks %+v", r.Checks)
	}
	now = now.Add(2 * time.Second)
	ask(503, 503)
	wrong = nil
	ask(200, 200)
	wrong = errors.New("again")
	ask(200, 503) // its time begins anew
}

// A slicer that is killed because S3 is away has its successor read everything again.
func TestWhatARestartCannotMendEndsOnlyReady(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	wrong := NoRestart(errors.New("the store is away"))
	m := &Monitor{now: func() time.Time { return now }}
	m.Add("slicer", Checks{"s3": func(context.Context) error { return wrong }})
	ask := func(live, ready int) {
		t.Helper()
		gotLive, _ := get(t, m.Live())
		gotReady, _ := get(t, m.Ready())
		if gotLive != live || gotReady != ready {
			t.Fatalf("live %d and ready %d, want %d and %d", gotLive, gotReady, live, ready)
		}
	}
	ask(200, 503)
	now = now.Add(10 * Grace)
	ask(200, 503)
	wrong = errors.New("its goroutine hangs")
	ask(200, 503) // its time begins now
	now = now.Add(Grace)
	ask(503, 503)
	wrong = NoRestart(nil)
	ask(200, 200)
}

func TestNothingIsReadyBeforeItIsAtWork(t *testing.T) {
	m := &Monitor{}
	if code, r := get(t, m.Ready()); code != 503 || len(r.Checks) != 1 || r.Checks[0].Name != "start" {
		t.Fatalf("%d %+v", code, r)
	}
	m.Add("completer", Checks{"nats": func(context.Context) error { return nil }})
	if code, r := get(t, m.Ready()); code != 200 || len(r.Checks) != 1 {
		t.Fatalf("%d %+v", code, r)
	}
}

func TestAskSaysWhatIsWrong(t *testing.T) {
	now, wrong := time.Now(), error(nil)
	m := &Monitor{now: func() time.Time { return now }}
	m.Add("slicer", Checks{"cursor": func(context.Context) error { return wrong }})
	srv := httptest.NewServer(m.Live())
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	if err := Ask(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	wrong = errors.New("it stands still")
	m.Report(t.Context())
	now = now.Add(Grace)
	if err := Ask(t.Context(), addr); err == nil || err.Error() != "slicer.cursor: it stands still (for 120 s)" {
		t.Fatalf("got %v", err)
	}
	srv.Close()
	if err := Ask(t.Context(), addr); err == nil {
		t.Fatal("nobody listens, and it is well")
	}
}

func TestAPulseFailsWhenNothingHasWorkedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		check := func(want bool) {
			t.Helper()
			if got := p.Problem(30*time.Second) != nil; got != want {
				t.Fatalf("problem: %t, want %t", got, want)
			}
		}
		check(false)
		p.Saw(errors.New("refused"))
		check(false)
		time.Sleep(31 * time.Second)
		p.Saw(errors.New("refused"))
		check(true)
		p.Saw(nil)
		check(false)
		time.Sleep(time.Hour)
		p.Saw(errors.New("refused"))
		check(false)
	})
}
