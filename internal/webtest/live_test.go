package webtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// A key that is typed in a session is on the viewer's screen within a second; who
// scrolls back can catch up; the end is seen, in the player and in the list.
func TestLive(t *testing.T) {
	rec := newRecorder(t)
	list := newTab(t, 1280, 800)
	list.open(address("/"))
	list.await("the list is connected", `document.querySelector('.connection.on')`)
	s, err := rec.Start(t.Context(), recorder.Spec{User: "bob", Login: "bob", ServerHostname: "live-1", Width: 80, Height: 24})
	must(t, err)
	write(t, s, "\x1b[32mbob@live-1\x1b[0m:~$ ")
	row := fmt.Sprintf(`tr[data-session="%s"]`, s.ID())
	list.await("the list shows the new session without being asked", fmt.Sprintf(`document.querySelector('%s[data-state=live]')`, row))
	list.shot("list-live")

	tb := newTab(t, 1440, 900)
	tb.openPlayer(s.ID(), "")
	tb.await("it is followed", `document.querySelector('.stage').dataset.state === 'following' && document.querySelector('.terminal').textContent.includes('bob@live-1')`)
	// A machine that does other things may need another try.
	slowest := time.Hour
	for try := 0; try < 3 && slowest > time.Second; try++ {
		slowest = typeKeys(t, tb, s, fmt.Sprintf("whoami-%d", try))
		write(t, s, "\r\n$ ")
	}
	t.Logf("from a key to the screen: %s at most", slowest)
	if slowest > time.Second {
		t.Errorf("a key took %s to the screen, want 1 s at most", slowest)
	}
	tb.shot("player-live")
	must(t, s.Resize(t.Context(), 100, 30))
	tb.await("a resize is followed", `document.querySelectorAll('.ap-line').length === 30`)

	// Back in time, while it goes on.
	tb.press("0")
	tb.await("it is at the start", `document.querySelector('.stage').dataset.position === '0'`)
	write(t, s, "\r\nwhile you were away\r\n")
	if tb.state() == "following" {
		t.Error("it is followed, though one went back")
	}
	tb.press("l")
	tb.await("it has caught up", `document.querySelector('.stage').dataset.state === 'following' && document.querySelector('.terminal').textContent.includes('while you were away')`)
	write(t, s, "and on\r\n")
	tb.await("it goes on", `document.querySelector('.terminal').textContent.includes('and on')`)

	must(t, s.End(t.Context()))
	tb.await("the player says that it is over", `document.querySelector('.badge.done') && document.querySelector('.stage').dataset.state === 'paused'`)
	list.await("and so does the list", fmt.Sprintf(`document.querySelector('%s[data-state=finished]')`, row))
}

// typeKeys types a word and returns how long the slowest key took to the screen.
// The browser says when it drew what; both clocks are this machine's.
func typeKeys(t *testing.T, tb *tab, s *recorder.Session, word string) time.Duration {
	t.Helper()
	eval[bool](tb, fmt.Sprintf(`(() => {
		const word = '%s', seen = window.seen = {};
		const look = () => {
			const text = document.querySelector('.terminal').textContent;
			for (let n = 1; n <= word.length; n++) if (!seen[n] && text.includes('$ ' + word.slice(0, n))) seen[n] = Date.now();
			if (!seen[word.length]) requestAnimationFrame(look);
		};
		look();
		return true;
	})()`, word))
	var typed []time.Time
	for _, key := range word {
		typed = append(typed, time.Now().Truncate(time.Millisecond))
		write(t, s, string(key))
		time.Sleep(60 * time.Millisecond) // as fast as people type
	}
	tb.await("the word is there", fmt.Sprintf(`window.seen[%d]`, len(word)))
	var slowest time.Duration
	for n, at := range eval[map[string]int64](tb, `window.seen`) {
		var i int
		if _, err := fmt.Sscan(n, &i); err == nil && i <= len(typed) {
			slowest = max(slowest, time.UnixMilli(at).Sub(typed[i-1]))
		}
	}
	return slowest
}

func write(t *testing.T, s *recorder.Session, text string) {
	t.Helper()
	_, err := s.Write([]byte(text))
	must(t, err)
}
