// Nothing here looks at more than the page, and with the race detector the server in
// this process is too slow to be looked at.
//go:build !race

package webtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The list and the player from a telephone to 4K, light and dark: nothing sticks
// out, everything is on the screen. The pictures are for people to look at.
func TestLooks(t *testing.T) {
	for _, name := range fixtures {
		fixture(t, name)
	}
	sid := fixture(t, "vim-unicode-resize")
	for _, size := range []struct{ width, height int64 }{{360, 740}, {1440, 900}, {3840, 2160}} {
		tb := newTab(t, size.width, size.height)
		for _, theme := range []string{"light", "dark"} {
			suffix := fmt.Sprintf("-%d-%s", size.width, theme)
			tb.open(address("/"))
			tb.await("the list is there", `document.querySelectorAll('tbody tr').length >= 4`)
			tb.theme(theme)
			tb.fits("the list")
			tb.shot("list" + suffix)

			tb.openPlayer(sid, "?t=1.7")
			tb.await("the events are there", `document.querySelectorAll('.events button').length > 1`)
			tb.theme(theme)
			tb.fits("the player")
			for _, selector := range []string{".terminal .ap-term", ".seek", "[data-control=play]", "[data-control=speed]", "[data-control=skip-idle]"} {
				if !eval[bool](tb, fmt.Sprintf(`(() => { const b = document.querySelector('%s').getBoundingClientRect(); return b.width > 15 && b.height > 15 && b.left >= 0 && b.right <= innerWidth; })()`, selector)) {
					t.Errorf("%d px, %s: %s is not on the screen", size.width, theme, selector)
				}
			}
			tb.shot("player" + suffix)
			if size.width > 3000 {
				continue // a picture of this size takes seconds, and the details are no wider
			}
			tb.do(chromedp.Click("#tab-details"))
			tb.fits("the details")
			if below := eval[float64](tb, `document.querySelector('.controls').getBoundingClientRect().bottom - innerHeight`); below > 0 && size.width > 1000 {
				t.Errorf("%d px, %s: the controls are %.0f px below the window", size.width, theme, below)
			}
			tb.shot("details" + suffix)
		}
	}
}

// With the keyboard alone: from the list to a recording, through it, and back.
func TestKeyboardAlone(t *testing.T) {
	sid := fixture(t, "shell-colours")
	tb := newTab(t, 1280, 800)
	tb.open(address("/?q=" + sid))
	tb.await("the list is there", `document.querySelectorAll('tbody tr').length === 1`)
	tb.tabTo(`.sessions a`)
	tb.press(kb.Enter)
	tb.await("the player stands", `document.querySelector('.stage')?.dataset.state === 'paused'`)
	tb.tabTo(`[data-control=play]`)
	tb.press(kb.Enter)
	tb.await("it plays", `Number(document.querySelector('.stage').dataset.position) > 200`)
	tb.press(kb.Enter)
	tb.await("it stands", `document.querySelector('.stage').dataset.state === 'paused'`)
	tb.press("i<]")
	tb.await("skip, slower and the next marker", `document.querySelector('[data-control=skip-idle]').getAttribute('aria-pressed') === 'true' && document.querySelector('[data-control=speed]').value === '0.5'`)
	tb.press("?")
	tb.await("the help is open", `document.querySelector('dialog[open]')`)
	tb.shot("help")
	tb.press(kb.Escape)
	tb.await("the help is closed", `!document.querySelector('dialog')`)
	tb.press("f")
	tb.await("it is in full screen, controls and all", `document.fullscreenElement?.querySelector('[data-control=play]')`)
	tb.press("f")
	tb.await("it is not any more", `!document.fullscreenElement`)
	tb.tabTo(`#tab-events`)
	tb.press(kb.ArrowRight)
	tb.await("the details are shown", `document.querySelector('#tab-details').getAttribute('aria-selected') === 'true' && document.activeElement.id === 'tab-details'`)
	eval[bool](tb, `(history.back(), true)`)
	tb.await("the list is back, with its search", fmt.Sprintf(`document.querySelector('input[name=q]')?.value === '%s' && document.querySelectorAll('tbody tr').length === 1`, sid))
}

// tabTo presses Tab until the element has the focus.
func (tb *tab) tabTo(selector string) {
	tb.t.Helper()
	for range 60 {
		if eval[bool](tb, fmt.Sprintf(`document.activeElement?.matches('%s') ?? false`, selector)) {
			return
		}
		tb.press(kb.Tab)
	}
	tb.t.Fatalf("%s never gets the focus", selector)
}

// What a screen reader is told: landmarks to go to, and a name for everything that
// can be operated.
func TestScreenReader(t *testing.T) {
	sid := fixture(t, "shell-colours")
	tb := newTab(t, 1280, 800)
	tb.open(address("/"))
	tb.await("the list is there", `document.querySelectorAll('tbody tr').length > 0`)
	tb.landmarks("banner", "navigation", "main", "search", "table")
	tb.openPlayer(sid, "")
	tb.await("the events are there", `document.querySelectorAll('.events button').length > 1`)
	tb.landmarks("banner", "navigation", "main", "region", "complementary", "slider", "tablist")
}

func (tb *tab) landmarks(want ...string) {
	tb.t.Helper()
	tree, err := chromedp.Call(tb.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	must(tb.t, err)
	var roles []string
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role := value(node.Role)
		roles = append(roles, role)
		switch role {
		case "button", "link", "slider", "combobox", "textbox", "searchbox", "tab":
			if value(node.Name) == "" {
				tb.t.Errorf("a %s has no name", role)
			}
		}
	}
	for _, role := range want {
		if !slices.Contains(roles, role) {
			tb.t.Errorf("there is no %s", role)
		}
	}
}

func value(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var s string
	_ = jsonUnmarshal(v.Value, &s)
	return s
}
