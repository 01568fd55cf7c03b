package webtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// An auditor looks for a session, opens it, and watches it: with each fixture.
func TestFindOpenAndPlay(t *testing.T) {
	for _, name := range fixtures {
		sid := fixture(t, name)
		t.Run(name, func(t *testing.T) {
			tb := newTab(t, 1440, 900)
			tb.open(address("/"))
			tb.do(chromedp.SendKeys("input[name=q]", searchFor(name)))
			row := fmt.Sprintf(`tr[data-session="%s"]`, sid)
			tb.await("the search is over", fmt.Sprintf(`location.search === '?q=%s' && !document.querySelector('.list[aria-busy]')`, searchFor(name)))
			tb.await("it finds that session alone", fmt.Sprintf(`document.querySelector('%s') && document.querySelectorAll('tbody tr').length === 1`, row))
			tb.do(chromedp.Click(row + " a"))
			tb.await("the player stands", `document.querySelector('.stage')?.dataset.state === 'paused'`)

			tb.press(" ")
			tb.await("it plays", `document.querySelector('.stage').dataset.state === 'playing' && Number(document.querySelector('.stage').dataset.position) > 300`)
			tb.press(" ")
			tb.await("it stands", `document.querySelector('.stage').dataset.state === 'paused'`)
			at := tb.position()
			tb.await("the address has the time", fmt.Sprintf(`location.search === '?t=%s'`, strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", float64(at)/1000), "0"), ".")))
			if again := tb.position(); again != at {
				t.Errorf("it stands at %d and then at %d ms", at, again)
			}

			end := eval[int](tb, `Number(document.querySelector('.seek').getAttribute('aria-valuemax'))`)
			tb.seek(0.5)
			if got := tb.position(); got < (end-1)*500 || got > (end+1)*500 {
				t.Errorf("a click on the middle of %d s goes to %d ms", end, got)
			}
			tb.press(kb.ArrowLeft + "5")
			tb.await("5 goes to the middle again", fmt.Sprintf(`Math.abs(Number(document.querySelector('.stage').dataset.position) - %d) < 20`, tb.half()))
			tb.press("0")
			tb.await("0 goes to the start", `document.querySelector('.stage').dataset.position === '0'`)
			tb.press(".")
			tb.await("a step goes to the first output", `Number(document.querySelector('.stage').dataset.position) > 0`)
		})
	}
}

// searchFor is something that the session's metadata has and others have not.
func searchFor(name string) string {
	return "fixture-" + name
}

func (tb *tab) half() int {
	tb.t.Helper()
	var tl struct {
		Duration int `json:"duration_ms"`
	}
	ask(tb.t, "/sessions/"+eval[string](tb, `location.pathname.split('/')[2]`)+"/timeline", &tl)
	return tl.Duration / 2
}

// At four times the speed a second of the clock is four of the recording.
func TestSpeed(t *testing.T) {
	sid := fixture(t, "flood")
	tb := newTab(t, 1440, 900)
	for _, speed := range []float64{0.25, 1, 4} {
		// A machine that does other things may need another try.
		rate := 0.0
		for try := 0; try < 3 && (rate < speed*0.85 || rate > speed*1.15); try++ {
			tb.openPlayer(sid, "?t=0.5")
			rate = tb.measureSpeed(speed)
		}
		if rate < speed*0.85 || rate > speed*1.15 {
			t.Errorf("at %g× it plays at %.2f×", speed, rate)
		}
	}
	tb.press(">")
	tb.await("> is faster", `document.querySelector('[data-control=speed]').value === '8'`)
}

// measureSpeed plays at a speed and returns that which the browser measures: what
// the test does takes time of its own.
func (tb *tab) measureSpeed(speed float64) float64 {
	tb.t.Helper()
	return eval[float64](tb, fmt.Sprintf(`(async () => {
		const stage = document.querySelector('.stage');
		const frame = () => new Promise(r => requestAnimationFrame(r));
		const speed = document.querySelector('[data-control=speed]');
		speed.value = '%g';
		speed.dispatchEvent(new Event('change'));
		document.querySelector('[data-control=play]').click();
		const at = () => Number(stage.dataset.position);
		while (at() < 550) await frame();
		const [t0, p0] = [await frame(), at()];
		let t = t0;
		while (t - t0 < 900) t = await frame();
		return (at() - p0) / (t - t0);
	})()`, speed))
}

// A session with a minute of nothing takes a minute, or half a second.
func TestSkipIdle(t *testing.T) {
	sid := importFile(t, "idle-minute", writeCast(t, `{"version": 2, "width": 80, "height": 24}
[0.0, "o", "before\r\n"]
[0.2, "o", "still before\r\n"]
[60.2, "o", "after\r\n"]
[60.6, "o", "long after\r\n"]
`))
	tb := newTab(t, 1440, 900)
	tb.openPlayer(sid, "")
	tb.press("i ")
	began := time.Now()
	tb.await("it is over the minute", `document.querySelector('.stage').dataset.position > 60200 && document.querySelector('.terminal').textContent.includes('after')`)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("that took %s", took)
	}
	tb.await("it ends", `document.querySelector('.stage').dataset.state === 'paused'`)
	tb.openPlayer(sid, "")
	tb.press(" ")
	tb.await("it plays", `Number(document.querySelector('.stage').dataset.position) > 1500`)
	if at := tb.position(); at > 30_000 {
		t.Errorf("without skipping it is at %d ms at once", at)
	}
	tb.shot("player-idle")
}

func TestPermalink(t *testing.T) {
	sid := fixture(t, "shell-colours")
	tb := newTab(t, 1440, 900)
	tb.openPlayer(sid, "?t=1.25")
	tb.await("it is where the link says", `document.querySelector('.stage').dataset.position === '1250'`)
	var want string
	eventually(t, "something is on the screen", func() (bool, string) { want = tb.screen(); return want != "", want })
	tb.press("9")
	tb.await("it went on", `Number(document.querySelector('.stage').dataset.position) > 2000`)
	tb.do(chromedp.Click(`[aria-label="Copy a link to this moment"]`))
	tb.await("the address is the link", `Number(new URLSearchParams(location.search).get('t')) > 2`)
	tb.openPlayer(sid, "?t=1.25")
	eventually(t, "the same link shows the same", func() (bool, string) {
		got := tb.screen()
		return got == want, fmt.Sprintf("%s\nand before\n%s", got, want)
	})
	// Events go to their time.
	tb.await("the events are there", `document.querySelectorAll('.events button').length > 1`)
	eval[bool](tb, `([...document.querySelectorAll('.events button')].at(-1).click(), true)`)
	tb.await("a click on the last event goes there", `Number(document.querySelector('.stage').dataset.position) > 2000`)
	tb.await("and marks it", `document.querySelector('.events li:last-child[aria-current=true]')`)
}

// A jump into a long recording begins at a picture of the index: it reads what
// comes after that and nothing before, and shows what a replay from the start does.
func TestAJumpBeginsAtThePictureOfTheIndex(t *testing.T) {
	const lines = 4000
	var cast strings.Builder
	cast.WriteString(`{"version": 2, "width": 80, "height": 24}` + "\n")
	for i := range lines {
		fmt.Fprintf(&cast, "[%.3f, \"o\", \"line %d of many\\r\\n\"]\n", float64(i)*0.1, i)
	}
	sid := importFile(t, "long", writeCast(t, cast.String()))
	awaitIndexed(t, sid)
	tb := newTab(t, 1440, 900)
	tb.requests("")
	tb.openPlayer(sid, "?t=390.05")
	tb.await("it is there", fmt.Sprintf(`document.querySelector('.terminal').textContent.includes('line %d of many')`, 3900))
	got := tb.screen()
	want := []string{}
	for i := 3900 - 22; i <= 3900; i++ {
		want = append(want, fmt.Sprintf("line %d of many", i))
	}
	if got != strings.Join(want, "\n") {
		t.Errorf("the screen is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	tb.mu.Lock()
	asked := strings.Join(tb.asked, "\n")
	tb.mu.Unlock()
	if !strings.Contains(asked, "/screen?at_ms=390050") {
		t.Errorf("it asked for no picture:\n%s", asked)
	}
	for _, u := range tb.requests("/output") {
		var from int
		if _, err := fmt.Sscan(u.Query().Get("from_index"), &from); err != nil || from < 3000 {
			t.Errorf("it read from index %d on, for a place near %d", from, 3900)
		}
	}
}
