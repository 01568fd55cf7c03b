package webtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A tab is a tab of the browser. It fails its test if the page throws, breaks the
// Content-Security-Policy, or asks anybody but its own server for anything.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	bad   []string
	asked []string // of its server, paths with queries
}

// newTab opens a tab of a size.
func newTab(t *testing.T, width, height int64) *tab {
	t.Helper()
	tb := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(tb.heard))
	tb.ctx = ctx
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, height)))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(t, err)
	_, err = chromedp.Call(ctx, log.Enable, struct{}{})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			tb.shot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		if len(tb.bad) > 0 {
			t.Errorf("the page did what it must not:\n%s", strings.Join(tb.bad, "\n"))
		}
	})
	return tb
}

func (tb *tab) heard(ev any) {
	var bad string
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		u := ev.Request.URL
		tb.mu.Lock()
		tb.asked = append(tb.asked, strings.TrimPrefix(u, address("")))
		tb.mu.Unlock()
		if !strings.HasPrefix(u, address("/")) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") && u != "about:blank" {
			bad = "a request to " + u
		}
	case *runtime.EventExceptionThrown:
		bad = "an exception: " + fmt.Sprint(jsonText(ev.ExceptionDetails))
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError {
			bad = "the browser says: " + ev.Entry.Text + " " + jsonText(ev.Entry.URL)
		}
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if bad != "" {
		tb.bad = append(tb.bad, bad)
	}
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (tb *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, time.Minute)
	defer cancel()
	must(tb.t, chromedp.Do(ctx, actions...))
}

func (tb *tab) open(address string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(address))
}

// requests are those since the last call whose path ends as given.
func (tb *tab) requests(path string) []*url.URL {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var found []*url.URL
	for _, asked := range tb.asked {
		u, err := url.Parse(asked)
		must(tb.t, err)
		if strings.HasSuffix(u.Path, path) {
			found = append(found, u)
		}
	}
	tb.asked = nil
	return found
}

// openPlayer opens a session's player and waits until it shows where it is.
func (tb *tab) openPlayer(sid, query string) {
	tb.t.Helper()
	tb.open(player(sid, query))
	tb.await("the player stands", `['paused','playing','following'].includes(document.querySelector('.stage')?.dataset.state)`)
}

// press types keys as the keyboard does.
func (tb *tab) press(keys string) {
	tb.t.Helper()
	tb.do(chromedp.KeyEvent(keys))
}

// eval returns what a JavaScript expression is.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until a JavaScript expression is true.
func (tb *tab) await(what, expression string) {
	tb.t.Helper()
	eventually(tb.t, what, func() (bool, string) {
		v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if err != nil {
			return false, err.Error()
		}
		return v, expression
	})
}

func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return eval[string](tb, fmt.Sprintf(`document.querySelector(%s)?.textContent ?? ''`, jsonText(selector)))
}

// position is where the player is, in milliseconds.
func (tb *tab) position() int {
	tb.t.Helper()
	return eval[int](tb, `Number(document.querySelector('.stage').dataset.position)`)
}

func (tb *tab) state() string {
	tb.t.Helper()
	return eval[string](tb, `document.querySelector('.stage').dataset.state`)
}

// seek clicks on the seek bar at a share of its length.
func (tb *tab) seek(share float64) {
	tb.t.Helper()
	at := eval[[]float64](tb, fmt.Sprintf(
		`(() => { const b = document.querySelector('.seek').getBoundingClientRect(); return [b.left + b.width * %f, b.top + b.height / 3]; })()`, share))
	tb.do(chromedp.MouseClickXY(at[0], at[1]))
	tb.await("the jump is over", `document.querySelector('.stage').dataset.state !== 'loading'`)
}

// shot keeps a picture of the tab.
func (tb *tab) shot(name string) {
	tb.t.Helper()
	png, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.t.Logf("screenshot %s: %v", name, err)
		return
	}
	must(tb.t, os.WriteFile(filepath.Join(screenshots, name+".png"), png, 0o644))
}

// theme chooses light or dark for the page that is open.
func (tb *tab) theme(name string) {
	tb.t.Helper()
	eval[bool](tb, fmt.Sprintf(`(document.documentElement.dataset.theme = %s, document.dispatchEvent(new Event('themechange')))`, jsonText(name)))
}

// ask asks the API, as who started the installation, and reads the answer into v.
func ask(t *testing.T, path string, v any) {
	t.Helper()
	if status := try(t, path, v); status != "200 OK" {
		t.Fatalf("GET %s: %s", path, status)
	}
}

// try is ask for what may not be there yet; it returns the status.
func try(t *testing.T, path string, v any) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address("/api/v1"+path), nil)
	must(t, err)
	_, token, _ := strings.Cut(info.Web.Link, "token=")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		must(t, json.NewDecoder(res.Body).Decode(v))
	}
	return res.Status
}

// awaitFinished waits until a session's recording is finished.
func awaitFinished(t *testing.T, sid string) {
	t.Helper()
	eventually(t, "session "+sid+" is finished", func() (bool, string) {
		var s struct{ State string }
		status := try(t, "/sessions/"+sid, &s)
		return s.State == "finished", status + " " + s.State
	})
}

// awaitIndexed waits until it has its index, too.
func awaitIndexed(t *testing.T, sid string) {
	t.Helper()
	eventually(t, "session "+sid+" is indexed", func() (bool, string) {
		var tl struct{ Indexed bool }
		status := try(t, "/sessions/"+sid+"/timeline", &tl)
		return tl.Indexed, status
	})
}

// fits fails the test if something is wider than the window.
func (tb *tab) fits(what string) {
	tb.t.Helper()
	if over := eval[int](tb, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
		tb.t.Errorf("%s is %d px wider than the window", what, over)
	}
}
