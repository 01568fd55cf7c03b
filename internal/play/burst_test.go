package play

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// gathered is what a burst writes for output that a terminal in state of f is
// sent in chunks.
func gathered(t testing.TB, f *Filter, output []byte, chunk int) []byte {
	t.Helper()
	var out bytes.Buffer
	b := newBurst(f, &out)
	for len(output) > 0 {
		n := min(chunk, len(output))
		b.add(output[:n])
		output = output[n:]
	}
	if err := b.finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// samePicture checks that a burst leads to the screen that the output itself
// leads to, after output that was shown before it.
func samePicture(t *testing.T, before, output []byte) (written int) {
	t.Helper()
	var f Filter
	first := f.Append(nil, before)
	short := gathered(t, &f, output, 1000)
	check(t, short)
	want := shown(t, 100, 30, []byte(filtered(string(before)+string(output))))
	if got := shown(t, 100, 30, append(bytes.Clone(first), short...)); got != want {
		t.Errorf("the burst of %d bytes shows\n%s\nwant, as %d bytes do,\n%s\nburst: %.300q", len(short), got, len(output), want, short)
	}
	return len(short)
}

func TestABurstShowsTheSameScreen(t *testing.T) {
	t.Parallel()
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			output := fixtureOutput(t, name)
			for _, end := range []int{len(output) / 3, len(output) * 2 / 3, len(output)} {
				samePicture(t, output[:end/4], output[end/4:end])
			}
		})
	}
}

func TestWhatABurstDropsDoesNotShow(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "\x1b[3%dmline %d\x1b[K\r\n", i%8, i)
	}
	tests := []struct {
		name, before, output string
		most                 int // bytes written
	}{
		{"lines that scrolled off", "", lines.String(), 50000},
		{"colours from before a cut", "", "\x1b[1;44mold" + strings.Repeat("x", 5000) + "\x1b[H\x1b[2Jnew", 300},
		{"every kind of colour and style", "", strings.Repeat("x", 5000) + "\x1b[1;2;3;4;5;7;9;38;5;200;48;2;1;2;3m\x1b[22;24;25m\x1b[4:3;58;5;9m\x1b[94m\x1b[H\x1b[2Jnew", 300},
		{"colours taken back one by one", "", strings.Repeat("\x1b[1;3;31;42mx\x1b[22;23;39;49m", 5000) + "\x1b[H\x1b[2Jnew", 300},
		{"erased, then home", "", "old" + strings.Repeat("x", 5000) + "\x1b[2J\x1b[Hnew", 300},
		{"home, then erased below", "", "old" + strings.Repeat("x", 5000) + "\x1b[H\x1b[Jnew", 300},
		{"margins and modes set before a cut", "", "\x1b[5;9r\x1b[4h\x1b[?7l\x1b(0" + strings.Repeat("x\r\n", 5000) + "\x1b[H\x1b[2Jqqq\x1b[3Ca\r\n\n\n\n\n\n\n\n\nb", 400},
		{"the alternate screen, left", "", "main\r\n\x1b[32m\x1b[?1049h\x1b[H" + strings.Repeat("alt ", 5000) + "\x1b[?1049lagain", 300},
		{"the alternate screen, kept", "", "main\r\n\x1b[?1049h\x1b[H" + strings.Repeat("alt ", 5000) + "\x1b[H\x1b[2J\x1b[7mkept", 400},
		{"the alternate screen, entered before", "main\r\n\x1b[?1049h\x1b[31m", strings.Repeat("alt ", 5000) + "\x1b[?1049lagain", 300},
		{"a full reset on the alternate screen", "main\x1b[?1049h\x1b[31malt", strings.Repeat("alt ", 5000) + "\x1bcnew", 300},
		{"lines after something placed", "\x1b[20;20Hplaced", "\x1b[3;3H" + lines.String() + "\x1b[5;5Hplaced", 50000},
		{"lines in a region do not scroll off", "", "top\r\n\r\n\x1b[5;10r\x1b[5H" + lines.String(), 1 << 20},
		{"an alternate screen left without having been entered", "", "\x1b[32m\x1b[?1049l\x1b[H\x1b[2Jnew", 300},
		{"a saved cursor", "", "\x1b[7;7H\x1b7\x1b[H\x1b[2Jnew\x1b8back", 300},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if n := samePicture(t, []byte(tt.before), []byte(tt.output)); n > tt.most {
				t.Errorf("%d bytes written for %d, want at most %d", n, len(tt.output), tt.most)
			}
		})
	}
}

func TestRandomDrawingShowsTheSameScreen(t *testing.T) {
	t.Parallel()
	pieces := []string{
		"\x1b[H", "\x1b[2J", "\x1b[J", "\x1b[H\x1b[2J", "\x1b[2J\x1b[H", "\x1b[5;5H", "\x1b[31m", "\x1b[44m", "\x1b[m", "\x1b[7m", "\x1b[3;20r", "\x1b[r",
		"\x1b[?1049h", "\x1b[?1049l", "\x1b[4h", "\x1b[4l", "\x1b[?7l", "\x1b[?7h", "\x1b(0", "\x1b(B", "\x1b[?6h", "\x1b[?6l",
		"line\r\n", "more text", "東京", "\r", "\n", "\b", "\x1b[A", "\x1b[K", "\x1b[2L", "\x1b[M", "\x1b[3C", "\x1bM",
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 12 {
		var out []byte
		for range 150 {
			out = append(out, pieces[rng.IntN(len(pieces))]...)
		}
		samePicture(t, out[:len(out)/3], out[len(out)/3:])
		if t.Failed() {
			t.Fatalf("output: %q", out)
		}
	}
}

func TestABurstIsBounded(t *testing.T) {
	var f Filter
	var out bytes.Buffer
	b := newBurst(&f, &out)
	chunk := bytes.Repeat([]byte("no line ends here and nothing is erased "), 1500)
	for range 24 << 20 / len(chunk) {
		b.add(chunk)
		if cap(b.buf) > 3*maxBurst {
			t.Fatalf("%d bytes held", cap(b.buf))
		}
	}
	if err := b.finish(); err != nil || out.Len() < 24<<20-len(chunk) {
		t.Errorf("%d bytes written, %v", out.Len(), err)
	}
}

func BenchmarkBurst(b *testing.B) {
	output := fixtureOutput(b, "flood.cast")
	b.SetBytes(int64(len(output)))
	for b.Loop() {
		gathered(b, &Filter{}, output, 4096)
	}
}
