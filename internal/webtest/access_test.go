package webtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

func jsonUnmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Who has no cookie is asked for a token; a wrong one is refused in words.
func TestLogin(t *testing.T) {
	sid := fixture(t, "htop")
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	defer cancel()
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800)))
	tb := &tab{t: t, ctx: ctx}
	tb.open(player(sid, "?t=1.5"))
	tb.await("it asks for a token", `document.activeElement?.id === 'token'`)
	tb.shot("login")
	tb.press("not a token" + kb.Enter)
	tb.await("it says that the token is wrong", `document.querySelector('.form-problem')?.textContent.length > 10`)
	_, token, _ := strings.Cut(info.Web.Link, "token=")
	tb.press(token + kb.Enter)
	tb.await("it goes where the link led", `document.querySelector('.stage')?.dataset.position === '1500'`)
	tb.do(chromedp.Click(".bar .quiet"))
	tb.await("signed out, it asks again", `document.querySelector('#token')`)
	tb.open(player(sid, ""))
	tb.await("and so it does after a reload", `document.querySelector('#token')`)
}

// A name with markup and escape sequences is a name.
func TestHostileNames(t *testing.T) {
	hostile := `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>` + "\x1b]0;owned\x07\x1b[31m\u202etxt.exe"
	s, err := newRecorder(t).Start(t.Context(), recorder.Spec{ID: "hostile", User: hostile, Login: hostile, ServerHostname: hostile,
		InitialCommand: []string{hostile}, Reason: hostile, Width: 80, Height: 24})
	must(t, err)
	write(t, s, "<img src=x onerror=window.pwned=1>\r\n")
	must(t, s.Join(t.Context(), recorder.Participant{User: hostile, Login: hostile}))
	must(t, s.End(t.Context()))
	awaitFinished(t, "hostile")
	tb := newTab(t, 1280, 800)
	tb.open(address("/"))
	row := `document.querySelector('tr[data-session=hostile]')`
	tb.await("it is in the list", row)
	inert := func(where string) {
		t.Helper()
		if eval[bool](tb, `window.pwned !== undefined || document.querySelector('img, script:not([src]), iframe') !== null`) {
			t.Errorf("%s: recorded markup has become markup", where)
		}
	}
	inert("list")
	text := eval[string](tb, row+`.textContent`)
	if !strings.Contains(text, `<img src=x onerror=`) || !strings.Contains(text, "␛") || strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("the list shows %q", text)
	}
	tb.fits("the list with a long name")
	tb.shot("hostile-list")
	tb.openPlayer("hostile", "")
	tb.await("the events are there", `document.querySelectorAll('.events button').length > 2`)
	tb.do(chromedp.Click("#tab-details"))
	inert("player")
	for _, selector := range []string{"h1", ".events", ".details"} {
		if text := tb.text(selector); !strings.Contains(text, "<img src=x") || strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%s shows %q", selector, text)
		}
	}
	tb.fits("the player with a long name")
	tb.shot("hostile-player")
}

// A recording with a gap says so: in the list, on the seek bar, and when one comes to it.
func TestAGapIsSaidWhereItIs(t *testing.T) {
	start := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	at := func(s int) string { return start.Add(time.Duration(s) * time.Second).Format(time.RFC3339Nano) }
	var lines strings.Builder
	event := func(index int, second int, kind, rest string) {
		fmt.Fprintf(&lines, `{"ei":%d,"event":%q,"time":%q%s}`+"\n", index, kind, at(second), rest)
	}
	event(0, 0, "session.start", `,"sid":"gap","user":"dave","login":"dave","server_hostname":"db-1","size":"80:24","code":"T2000I"`)
	event(1, 1, "print", `,"data":"YmVmb3Jl","bytes":6,"ms":1000`)
	event(2, 2, "print", `,"data":"IHRoZSBnYXA=","bytes":8,"ms":2000,"ci":1`)
	event(40, 30, "print", `,"data":"IGFmdGVy","bytes":6,"ms":30000,"ci":2`)
	event(41, 40, "session.end", `,"sid":"gap","user":"dave","code":"T2004I"`)
	path := filepath.Join(t.TempDir(), "gap.json")
	must(t, os.WriteFile(path, []byte(lines.String()), 0o600))
	sid := importFile(t, "gap", path)
	tb := newTab(t, 1280, 800)
	tb.open(address("/?q=dave"))
	tb.await("the list says that something is wrong", `document.querySelector('tr[data-session=gap] .badge.bad')`)
	tb.openPlayer(sid, "?t=0.5")
	if tb.text(".notice.problem") != "" && eval[bool](tb, `!document.querySelector('.notice.problem').hidden`) {
		t.Error("it is said before it happens")
	}
	tb.await("the event list has it", `document.querySelector('.events [data-kind=problem]')`)
	eval[bool](tb, `(document.querySelector('.events [data-kind=problem] button').click(), true)`)
	tb.await("it is said where it happens", `document.querySelector('.notice.problem:not([hidden])')?.textContent.length > 10`)
	tb.shot("player-gap")
}
