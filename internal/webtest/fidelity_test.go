package webtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the player shows of each fixture at five times is what tmux shows after the
// same bytes. Both are asked for the text of their whole screen.
func TestTheTextIsWhatAnotherTerminalShows(t *testing.T) {
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			sid := fixture(t, name)
			tb := newTab(t, 1440, 900)
			width, height, events := readCast(t, name)
			end := events[len(events)-1].at
			for _, share := range []float64{0.1, 0.35, 0.6, 0.85, 1} {
				at := quiet(events, end*share)
				want := newTmux(t, width, height).play(events, at)
				tb.openPlayer(sid, fmt.Sprintf("?t=%.3f", at))
				var got string
				eventually(t, fmt.Sprintf("the player shows what tmux shows at %.3f s", at), func() (bool, string) {
					got = tb.screen()
					w := want()
					return got == w, fmt.Sprintf("the player\n%s\ntmux\n%s", got, w)
				})
				if strings.TrimSpace(got) == "" && share > 0.1 && share < 1 {
					t.Errorf("the screen is empty at %.3f s", at)
				}
			}
			tb.shot("fixture-" + name)
		})
	}
}

// quiet is a moment at or after at, in seconds, that no event is close to: the
// recording has milliseconds, the fixture has more.
func quiet(events []castEvent, at float64) float64 {
	for i, e := range events {
		if e.at < at {
			continue
		}
		if i+1 == len(events) {
			return e.at + 0.01
		}
		if next := events[i+1].at; next-e.at > 0.004 {
			return (e.at + next) / 2
		}
	}
	return at
}

// screenJS reads the text of the player's terminal: spans at their columns, and
// the symbols that it draws as shapes.
const screenJS = `(() => {
	const rows = [...document.querySelectorAll('.ap-line')].map(line => {
		const cells = [];
		for (const span of line.children) {
			let at = Number(span.style.getPropertyValue('--offset'));
			for (const c of span.textContent) cells[at++] = c;
		}
		return cells;
	});
	document.querySelectorAll('.ap-symbol-line').forEach((line, row) => {
		for (const use of line.children) {
			const power = Number(use.getAttribute('width')) > 1;
			const column = Math.round(Number(use.getAttribute('x')) + (power ? (Number(use.getAttribute('width')) - 1) / 2 : 0));
			rows[row][column] = String.fromCodePoint(Number(use.getAttribute('href').slice('#sym-'.length)));
		}
	});
	return rows.map(cells => Array.from(cells, c => c ?? ''));
})()`

// screen is the text on the player's screen, a line a row.
func (tb *tab) screen() string {
	tb.t.Helper()
	var rows []string
	for _, cells := range eval[[][]string](tb, screenJS) {
		var row strings.Builder
		wide := false
		for _, c := range cells {
			if c == "" && !wide { // behind a wide character is its other half
				c = " "
			}
			row.WriteString(c)
			wide = c != "" && isWide([]rune(c)[0])
		}
		rows = append(rows, row.String())
	}
	return normal(strings.Join(rows, "\n"))
}

// normal leaves out what is behind the last character of a line, and of the
// screen. The player draws block elements as pixels, which have no text.
func normal(screen string) string {
	lines := strings.Split(screen, "\n")
	for i, line := range lines {
		line = strings.Map(func(r rune) rune {
			if r >= 0x2580 && r <= 0x259f {
				return ' '
			}
			return r
		}, line)
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// isWide knows the wide characters of the fixtures.
func isWide(r rune) bool {
	return r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xff00 && r <= 0xff60 || r >= 0x1f300 && r <= 0x1faff
}

// A tmux is a terminal in a server of its own.
type tmux struct {
	t      *testing.T
	socket string
	dir    string
	n      int
}

func newTmux(t *testing.T, width, height int) *tmux {
	t.Helper()
	dir, err := os.MkdirTemp("", "tapedeck-tmux-") // a socket's path must be short
	must(t, err)
	m := &tmux{t: t, socket: filepath.Join(dir, "s"), dir: dir}
	// The pane prints files as they appear, and says when it has printed one.
	script := `stty raw -echo; n=0; while :; do if [ -e "$0/$n.go" ]; then cat "$0/$n"; : >"$0/$n.done"; n=$((n+1)); else sleep 0.01; fi; done`
	m.run("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "sh", "-c", script, dir, ";", "set", "-g", "status", "off")
	m.run("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height)) // the status line took a row
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", m.socket, "kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	return m
}

func (m *tmux) run(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", m.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// play prints what happened up to at seconds, and returns what reads the screen.
func (m *tmux) play(events []castEvent, at float64) func() string {
	m.t.Helper()
	var text strings.Builder
	for _, e := range events {
		if e.at > at {
			break
		}
		switch e.code {
		case "o":
			text.WriteString(e.data)
		case "r":
			m.print(text.String())
			text.Reset()
			width, height, _ := strings.Cut(e.data, "x")
			m.run("resize-window", "-x", width, "-y", height)
		}
	}
	m.print(text.String())
	return m.capture
}

func (m *tmux) capture() string {
	return normal(m.run("capture-pane", "-p", "-N"))
}

// print prints text and returns when tmux has drawn it.
func (m *tmux) print(text string) {
	m.t.Helper()
	file := filepath.Join(m.dir, fmt.Sprint(m.n))
	m.n++
	must(m.t, os.WriteFile(file, []byte(text), 0o600))
	must(m.t, os.WriteFile(file+".go", nil, 0o600))
	eventually(m.t, "tmux has read everything", func() (bool, string) {
		_, err := os.Stat(file + ".done")
		return err == nil, fmt.Sprint(err)
	})
	// It has read the bytes, and draws them; two pictures that are alike say that it is done.
	last := ""
	eventually(m.t, "tmux stands still", func() (bool, string) {
		time.Sleep(30 * time.Millisecond)
		now := m.capture()
		same := now == last
		last = now
		return same, now
	})
}
