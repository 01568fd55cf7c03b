package screen_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/screen"
)

// fixtures are recordings of real programs.
const fixtures = "../cast/testdata/*.cast"

type fixture struct {
	name       string
	cols, rows int
	events     []cast.Event
}

func loadFixtures(t testing.TB) []fixture {
	t.Helper()
	names, err := filepath.Glob(fixtures)
	if err != nil || len(names) < 4 {
		t.Fatalf("fixtures: %v, %v", names, err)
	}
	var all []fixture
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := cast.NewReader(bufio.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		fx := fixture{name: strings.TrimSuffix(filepath.Base(name), ".cast"), cols: r.Header().Width, rows: r.Header().Height}
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			fx.events = append(fx.events, e)
		}
		all = append(all, fx)
	}
	return all
}

// text is a terminal's rows as tmux prints them.
func text(t *screen.Terminal) string { return trim(strings.Join(t.Text(), "\n")) }

func place(t *screen.Terminal) string {
	x, y, on := t.Cursor()
	flag := 0
	if on {
		flag = 1
	}
	return fmt.Sprint(x, y, flag)
}

// At five points of every recording the screen is that of tmux, and what Redraw
// says makes tmux, and a new terminal, show the same.
func TestFixturesShowWhatTmuxShows(t *testing.T) {
	for _, fx := range loadFixtures(t) {
		t.Run(fx.name, func(t *testing.T) {
			t.Parallel()
			m := newTmux(t, fx.cols, fx.rows)
			term := screen.NewTerminal(fx.cols, fx.rows)
			var since []byte // the output since the last change of size
			next := 1
			for i, e := range fx.events {
				switch e.Code {
				case cast.Output:
					_, _ = term.Write(e.Data)
					since = append(since, e.Data...)
				case cast.Resize:
					// Terminals differ in how they lay out a screen anew, and what
					// programs draw after a resize makes them the same again.
					cols, rows, err := cast.ParseSize(string(e.Data), 'x')
					if err != nil {
						t.Fatal(err)
					}
					term.Resize(cols, rows)
					since = term.Redraw()
				}
				if i+1 < len(fx.events)*next/5 {
					continue
				}
				next++
				checkAgainst(t, m, term, since, fmt.Sprintf("after event %d", i))
			}
		})
	}
}

// checkAgainst holds a terminal that was sent output, and its Redraw, against tmux.
func checkAgainst(t *testing.T, m *tmux, term *screen.Terminal, output []byte, what string) {
	t.Helper()
	cols, rows := term.Size()
	want := m.show(cols, rows, output)
	seen := parse(cols, rows, want.styled)
	if got, want := text(term), text(seen); got != want {
		t.Fatalf("%s the screen shows\n%s\ntmux shows\n%s", what, got, want)
	}
	x, y, on := term.Cursor()
	if got := tmuxPlace(x, y, on, want.cursor); got != want.cursor {
		t.Errorf("%s the cursor is at %s, tmux has it at %s", what, got, want.cursor)
	}
	redrawn := m.show(cols, rows, term.Redraw())
	if diff := styleDiff(parse(cols, rows, redrawn.styled), seen); diff != "" {
		t.Errorf("%s tmux redrawn differs: %s", what, diff)
	}
	if diff := styleDiff(term, seen); diff != "" {
		t.Errorf("%s the screen differs from tmux: %s", what, diff)
	}
	if redrawn.cursor != want.cursor {
		t.Errorf("%s tmux redrawn has the cursor at %s, want %s", what, redrawn.cursor, want.cursor)
	}
	checkRedraw(t, term, what)
}

// parse makes a terminal of what tmux says of one with colors and attributes. It
// shifts to G1 for line drawing.
func parse(cols, rows int, captured string) *screen.Terminal {
	t := screen.NewTerminal(cols, rows)
	_, _ = t.Write([]byte("\x1b[?7l\x1b)0" + strings.ReplaceAll(captured, "\n", "\r\n")))
	return t
}

// styleDiff says where two terminals with the same text have it in other colors or
// attributes. Behind the end of a line tmux does not tell them.
func styleDiff(a, b *screen.Terminal) string {
	for y, row := range b.Text() {
		for x := range ansi.StringWidth(row) {
			ta, sa := a.CellAt(x, y)
			tb, sb := b.CellAt(x, y)
			if ta != tb || sa != sb {
				return fmt.Sprintf("column %d of row %d is %q %+v, want %q %+v", x, y, ta, sa, tb, sb)
			}
		}
	}
	return ""
}

// tmuxPlace is a cursor as tmux has it: one that waits to wrap is beyond the edge.
func tmuxPlace(x, y int, on bool, want string) string {
	var wx, wy, flag int
	_, _ = fmt.Sscan(want, &wx, &wy, &flag)
	if wx == x+1 && wy == y {
		x = wx
	}
	flag = 0
	if on {
		flag = 1
	}
	return fmt.Sprint(x, y, flag)
}

// checkRedraw draws a terminal anew on one that was used for something else, and
// expects it to be the same in all that it says of itself.
func checkRedraw(t *testing.T, term *screen.Terminal, what string) {
	t.Helper()
	again := screen.NewTerminal(term.Size())
	_, _ = again.Write([]byte("other\x1b[5;9r\x1b[?6h\x1b[4h\x1b[31;7m\x1b(0\x1b[?1049hxx\x1b[3g\x1b[?25l"))
	want := term.Redraw()
	_, _ = again.Write(want)
	if got := again.Redraw(); !bytes.Equal(got, want) {
		t.Fatalf("%s a redrawn terminal says\n%q\nnot\n%q", what, got, want)
	}
	if text(again) != text(term) || place(again) != place(term) {
		t.Fatalf("%s a redrawn terminal shows\n%s\n%s\nnot\n%s\n%s", what, text(again), place(again), text(term), place(term))
	}
}

// pieces are what random output is made of.
var pieces = []string{
	"hello ", "\r\n", "\n", "\r", "\b", "\t", "é", "x", "ab", "|----|",
	"\x1b[A", "\x1b[3B", "\x1b[4C", "\x1b[2D", "\x1b[H", "\x1b[%d;%dH", "\x1b[%dG", "\x1b[%dd", "\x1b[E", "\x1b[F",
	"\x1b[J", "\x1b[1J", "\x1b[2J", "\x1b[K", "\x1b[1K", "\x1b[2K", "\x1b[%dX", "\x1b[%d@", "\x1b[%dP", "\x1b[%dL", "\x1b[%dM",
	"\x1b[S", "\x1b[2T", "\x1bM", "\x1bD", "\x1bE", "\x1b[%d;%dr", "\x1b[r",
	"\x1b[31m", "\x1b[1;44m", "\x1b[m", "\x1b[7m", "\x1b[38;5;200m", "\x1b[48;2;1;2;3m", "\x1b[4m", "\x1b[22;39m",
	"\x1b(0qqxx\x1b(B", "\x1b[?7l", "\x1b[?7h", "\x1b[4h", "\x1b[4l",
	"\x1b[?25l", "\x1b[?25h", "\x1b]2;title ✓\x07", "\x1b[>4;2m", "\x1b[?2004h", "\rr\x1b[5b", "\x1bH", "\x1b[3g", "\x1b[Z",
	"0123456789012345678901234567890123456789",
}

// tmux saves one cursor for both screens, and xterm one for each: these do not meet.
var (
	saving      = []string{"\x1b7", "\x1b8"}
	alternating = []string{"\x1b[?1049h", "\x1b[?1049l", "\x1b[?1049h\x1b[3;3H"}
)

// others are pieces that tmux takes in another way than xterm: it forgets about
// origin when the margins change and about character sets when it leaves a screen,
// repeats a character only up to the edge, and inserts what combines.
var others = []string{"\x1b(0", "\x1b(B", "世界", "e\u0301", "👍", "한", "\x1b[?6h", "\x1b[?6l", "\x1b[50b", "\x1b[!p", "\x1bc", "\x1b#8", "\x1b)0", "\x0e", "\x0f", "\x1bn", "\x1bN",
	"\x1b[?47h", "\x1b[?47l", "\x1b[?1048h", "\x1b[s", "\x1b[u", "\x1b[20h", "\x1b[?5h", "\x1b[4 q", "\x1b[58:2::1:2:3m", "\x1b[4:3m", "\u200d"}

func randomOutput(random *rand.Rand, n int, pieces []string) []byte {
	var out []byte
	for range n {
		p := pieces[random.IntN(len(pieces))]
		for strings.Contains(p, "%d") {
			p = strings.Replace(p, "%d", fmt.Sprint(1+random.IntN(12)), 1)
		}
		out = append(out, p...)
	}
	return out
}

func TestRandomOutputShowsWhatTmuxShows(t *testing.T) {
	const cols, rows = 40, 12
	m := newTmux(t, cols, rows)
	for seed := range uint64(40) {
		output := randomOutput(rand.New(rand.NewPCG(seed, 7)), 60, slices.Concat(pieces, [][]string{saving, alternating}[seed%2]))
		term := screen.NewTerminal(cols, rows)
		_, _ = term.Write(output)
		checkAgainst(t, m, term, output, fmt.Sprintf("seed %d, %q:", seed, output))
		if t.Failed() {
			return
		}
	}
}

func TestWideCharactersAndOriginShowAsInTmux(t *testing.T) {
	const cols, rows = 11, 4
	m := newTmux(t, cols, rows)
	for _, output := range []string{
		"世界世界世界世", "0123456789世", "世界\x1b[1;3Hx", "世界\x1b[1;3H\x1b[K", "世界\x1b[1;4H\x1b[1K", "e\u0301e\u0301世\u0301x",
		"\x1b[?7l0123456789世x", "\x1b[2;3r\x1b[?6h\x1b[2;2Hx\x1b[9;9Hy\x1b[?6l\x1b[4;2Hz", "\x1b[2;3r\x1b[3;1Ha\nb\x1bMc", "世界\x1b[1;1H한", "👍👍\r👍",
	} {
		term := screen.NewTerminal(cols, rows)
		_, _ = term.Write([]byte(output))
		checkAgainst(t, m, term, []byte(output), fmt.Sprintf("%q:", output))
	}
}

// Half of a wide character cannot stay: it becomes empty, as xterm has it.
func TestHalfOfAWideCharacterIsEmpty(t *testing.T) {
	for output, want := range map[string]string{
		"世界\x1b[1;2Hx": " x界", "世界\x1b[1;1Hx": "x 界", "世界\x1b[1;2H\x1b[K": "", "a世\x1b[1;1H한": "한", "世界\x1b[1;1H\x1b[P": " 界",
		"世界\x1b[1;2H\x1b[@": "   界", "世界\x1b[1;4H\x1b[X": "世", "世界世界世x\x1b[1;2H\x1b[@": "   界世界世", "世界\x1b[1;2H\x1b[1K": "  界",
	} {
		term := screen.NewTerminal(11, 2)
		_, _ = term.Write([]byte(output))
		if got := term.Text()[0]; got != want {
			t.Errorf("%q shows %q, want %q", output, got, want)
		}
		checkRedraw(t, term, output)
	}
}

// How output is cut makes no difference, and a redraw goes on as the terminal does.
func FuzzTerminal(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(randomOutput(rand.New(rand.NewPCG(seed, 9)), 40, slices.Concat(pieces, others, saving, alternating)), uint8(seed), uint8(20), uint8(6))
	}
	f.Add([]byte("\xe2\x1b[\xff\xc3\x9b3m\xf0\x9f\x91"), uint8(3), uint8(2), uint8(2))
	f.Add([]byte("\x1b[99999999999999999999999999;9b\x1b]8;;\xe2\x9c\x93"), uint8(3), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, output []byte, cut, cols, rows uint8) {
		whole, pieces := screen.NewTerminal(int(cols), int(rows)), screen.NewTerminal(int(cols), int(rows))
		_, _ = whole.Write(output)
		for rest, n := output, int(cut%7)+1; len(rest) > 0; {
			n = min(n, len(rest))
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		if !bytes.Equal(whole.Redraw(), pieces.Redraw()) {
			t.Fatalf("cut in pieces it shows\n%q\nnot\n%q", pieces.Redraw(), whole.Redraw())
		}
		checkRedraw(t, whole, "fuzzed")
		whole.Resize(int(rows), int(cols))
		checkRedraw(t, whole, "resized")
	})
}

func TestALineIsToldWhenItIsLeft(t *testing.T) {
	var lines []string
	term := screen.NewTerminal(20, 4)
	term.OnLine = func(s string) { lines = append(lines, s) }
	_, _ = term.Write([]byte("$ ls\x1b[D\x1b[Ko\r\nfile  \r\n\x1b[?1049hhidden\r\n\x1b[?1049l$ \n"))
	if want := []string{"$ lo", "file", "$"}; !slices.Equal(lines, want) {
		t.Errorf("lines %q, want %q", lines, want)
	}
}

// However often a character is to be repeated, it is to the end of its line.
func TestARepeatedCharacterStaysInItsLine(t *testing.T) {
	term := screen.NewTerminal(10, 3)
	_, _ = term.Write([]byte("ab\x1b[2000000000b"))
	if got := text(term); got != "abbbbbbbbb" {
		t.Errorf("the screen is %q", got)
	}
	_, _ = term.Write([]byte("\r\nc\x1b[3b"))
	if got := text(term); got != "abbbbbbbbb\ncccc" {
		t.Errorf("the screen is %q", got)
	}
}

func BenchmarkTerminalFlood(b *testing.B) {
	var output []byte
	for _, fx := range loadFixtures(b) {
		if fx.name == "flood" {
			for _, e := range fx.events {
				if e.Code == cast.Output {
					output = append(output, e.Data...)
				}
			}
		}
	}
	term := screen.NewTerminal(100, 30)
	b.SetBytes(int64(len(output)))
	for b.Loop() {
		_, _ = term.Write(output)
	}
}
