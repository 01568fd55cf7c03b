package play

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/ansi/parser"

	"github.com/tapedeck-io/tapedeck/internal/cast"
)

func filtered(in string) string {
	var f Filter
	return string(f.Append(nil, []byte(in)))
}

func TestWhatDrawsIsLetThrough(t *testing.T) {
	for _, s := range []string{
		"plain text\r\n", "naïve 東京 👩‍👩‍👧 e\u0301", "\b\t\n\v\f\r\x0e\x0f",
		"\x1b[31;1m", "\x1b[38;2;1;2;3m", "\x1b[4:3m", "\x1b[m", "\x1b[H", "\x1b[12;40H", "\x1b[5A", "\x1b[2J", "\x1b[J", "\x1b[K",
		"\x1b[3L", "\x1b[2M", "\x1b[4P", "\x1b[1;30r", "\x1b[r", "\x1b[?25l", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?7h", "\x1b[4l",
		"\x1b[?2026h", "\x1b(0", "\x1b)B", "\x1b7", "\x1b8", "\x1bM", "\x1b#8", "\x1b[2 q", "\x1b[!p", "\x1b[3b", "\x1b[2S", "\x1b[T", "\x1b[?5h",
	} {
		if got := filtered(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestWhatAsksOrSetsIsDropped(t *testing.T) {
	tests := []struct{ name, in string }{
		{"clipboard", "\x1b]52;c;aGVsbG8=\x07"},
		{"clipboard ended by ST", "\x1b]52;c;?\x1b\\"},
		{"title", "\x1b]0;rm -rf\x07"},
		{"screen's title", "\x1bktitle\x1b\\"},
		{"palette", "\x1b]4;1;?\x07"},
		{"notification", "\x1b]9;hello\x07"},
		{"device control string", "\x1bP+q544e\x1b\\"},
		{"sixel", "\x1bPq#0;2;0;0;0~~\x1b\\"},
		{"application command", "\x1b_Gf=100;AAAA\x1b\\"},
		{"privacy message", "\x1b^secret\x1b\\"},
		{"start of string", "\x1bXstring\x1b\\"},
		{"device attributes", "\x1b[c\x1b[0c\x1b[>c\x1b[=c\x1bZ"},
		{"status reports", "\x1b[5n\x1b[6n\x1b[?6n\x1b[?996n"},
		{"mode requests", "\x1b[?2026$p\x1b[4$p"},
		{"setting request", "\x1bP$qm\x1b\\"},
		{"checksum", "\x1b[1;1;1;1;10;10*y"},
		{"terminal parameters", "\x1b[x\x1b[1x"},
		{"version", "\x1b[>q\x1b[>0q"},
		{"window reports and changes", "\x1b[14t\x1b[18t\x1b[8;24;80t\x1b[22;0;0t\x1b[23;2t\x1b[21t"},
		{"mouse", "\x1b[?9h\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?1015h\x1b[?1016h"},
		{"mouse highlighting", "\x1b[1;2;3;4;5T"},
		{"focus, paste, themes, sizes", "\x1b[?1004h\x1b[?2004h\x1b[?2031h\x1b[?2048h"},
		{"keyboard modes", "\x1b[>4;2m\x1b[>1u\x1b[=1u\x1b[<u\x1b[?u\x1b[?1h\x1b=\x1b>\x1b[?66h\x1b[?9001h\x1b[2h"},
		{"answerback and bell", "\x05\x07"},
		{"flow control, null, delete", "\x11\x13\x00\x7f"},
		{"printing", "\x1b[5i\x1b[?5i\x1b[i"},
		{"lamps", "\x1b[1q"},
		{"the viewer's scrollback", "\x1b[3J\x1b[03J\x1b[?3J\x1b[0;3J"},
		{"8-bit replies and other encodings", "\x1b G\x1b%@"},
		{"132 columns", "\x1b[?40h\x1b[?3h"},
		{"locator", "\x1b[1'|\x1b[1'z"},
		{"character sets that are none", "\x1b(X\x1b)P\x1b*]\x1b+_"},
		{"an unknown sequence", "\x1b[5&w\x1b[?5;6~"},
		{"a number to keep a terminal busy", "\x1b[999999999b\x1b[1000000L"},
		{"malformed", "\x1b[1?h\x1b[1 2h\x1b[<1;2h"},
		{"too long", "\x1b[" + strings.Repeat("1;", 500) + "m"},
		{"8-bit clipboard", "\u009d52;c;AAAA\u009c"},
		{"8-bit status report", "\u009b6n"},
		{"broken off by CAN", "\x1b[3\x18"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := filtered("a" + tt.in + "b"); got != "ab" {
				t.Errorf("%q became %q", tt.in, got)
			}
		})
	}
}

func TestWhatIsChangedOnTheWay(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"modes that draw stay in a mixed list", "\x1b[?1049;2004;25h", "\x1b[?1049;25h"},
		{"a link loses its target", "\x1b]8;;file:///etc/passwd\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"8-bit controls become 7-bit", "\u009b31mred\u0085", "\x1b[31mred\x1bE"},
		{"bytes that are no text", "a\xffb\x9b6n", "a\ufffdb\ufffd6n"},
		{"a control inside a sequence comes first", "\x1b[3\r1m", "\r\x1b[31m"},
		{"an escape inside a sequence begins anew", "\x1b[3\x1b[31m", "\x1b[31m"},
		{"an escape inside a string begins anew", "\x1b]0;title\x1b[31mred", "\x1b[31mred"},
		{"text inside a sequence breaks it off", "\x1b[3é1m", "é1m"},
		{"a full reset only draws", "\x1bc", "\x1b[?6l\x1b[4l\x1b[20l\x1b[?5l\x1b[?7h\x1b[?25h\x1b[r\x1b[m\x1b(B\x1b)B\x0f\x1b[H\x1b[2J"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := filtered(tt.in); got != tt.want {
				t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestAnEndlessStringCostsNothing(t *testing.T) {
	var f Filter
	chunk := bytes.Repeat([]byte("A"), 64<<10)
	for _, begin := range []string{"\x1b]52;c;", "\x1bP", "\x1b[", "\x1b#"} {
		f.Append(nil, []byte(begin))
		if begin == "\x1b[" || begin == "\x1b#" {
			chunk = bytes.Repeat([]byte{'!'}, 64<<10)
		}
		for range 20 {
			if out := f.Append(nil, chunk); len(out) != 0 {
				t.Fatalf("%q let %d bytes through", begin, len(out))
			}
		}
		if cap(f.seq) > 4*maxSequence {
			t.Errorf("%q: %d bytes held", begin, cap(f.seq))
		}
		if got := string(f.Append(nil, []byte("\x18ok"))); got != "ok" {
			t.Errorf("after %q: %q", begin, got)
		}
	}
}

// check parses what came out with a parser of somebody else and fails the test
// for anything that the package's documentation says is dropped.
func check(t testing.TB, out []byte) {
	t.Helper()
	if !utf8.Valid(out) {
		t.Fatalf("not UTF-8: %q", out)
	}
	p := ansi.NewParser()
	var state byte
	for rest := out; len(rest) > 0; {
		seq, _, n, next := ansi.DecodeSequence(rest, state, p)
		if n == 0 {
			t.Fatalf("no progress at %q", rest)
		}
		state = next
		rest = rest[n:]
		checkSequence(t, seq, ansi.Cmd(p.Command()))
	}
	if state != parser.GroundState {
		t.Fatalf("ends inside a sequence: %q", out)
	}
}

func checkSequence(t testing.TB, seq []byte, cmd ansi.Cmd) {
	t.Helper()
	switch {
	case ansi.HasOscPrefix(seq), ansi.HasDcsPrefix(seq), ansi.HasApcPrefix(seq), ansi.HasPmPrefix(seq), ansi.HasSosPrefix(seq), ansi.HasStPrefix(seq):
		t.Fatalf("a string got through: %q", seq)
	case ansi.HasCsiPrefix(seq):
		if seq[0] != 0x1b {
			t.Fatalf("an 8-bit control got through: %q", seq)
		}
		checkCSI(t, seq, cmd)
	case ansi.HasEscPrefix(seq):
		if bytes.ContainsAny(seq[len(seq)-1:], "Z=>c\\]PX^_k[") && cmd.Intermediate() == 0 || len(seq) == 1 {
			t.Fatalf("an escape got through: %q", seq)
		}
	case seq[0] < ' ' || seq[0] == 0x7f:
		if len(seq) == 1 && (seq[0] < 0x08 || seq[0] > 0x0f) {
			t.Fatalf("a control got through: %q", seq)
		}
	case len(seq) == 2 && seq[0] == 0xc2 && seq[1] < 0xa0:
		t.Fatalf("an 8-bit control got through: %q", seq)
	}
}

func checkCSI(t testing.TB, seq []byte, cmd ansi.Cmd) {
	t.Helper()
	pre, inter, final := cmd.Prefix(), cmd.Intermediate(), cmd.Final()
	bad := pre == '>' || pre == '<' || pre == '=' ||
		bytes.IndexByte([]byte("cnti"), final) >= 0 && inter == 0 ||
		final == 'p' && inter != '!' || final == 'y' || final == 'q' && inter == 0 || final == 'u' && pre != 0 ||
		final == 'x' && inter == 0 || final == 'm' && pre != 0 || final == 'J' && strings.Trim(string(seq[2:len(seq)-1]), "?012") != ""
	if pre == '?' && (final == 'h' || final == 'l') {
		for _, m := range strings.Split(string(seq[3:len(seq)-1]), ";") {
			switch m {
			case "5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026", "2027":
			default:
				bad = true
			}
		}
	}
	if bad {
		t.Fatalf("a sequence got through: %q", seq)
	}
}

// fixtureOutput is what the programs of the fixtures wrote.
func fixtureOutput(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join("../cast/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := cast.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		if e.Code == cast.Output {
			out = append(out, e.Data...)
		}
	}
	if len(out) < 1000 {
		t.Fatalf("%s has %d bytes of output", name, len(out))
	}
	return out
}

var fixtureNames = []string{"flood.cast", "htop.cast", "shell-colours.cast", "vim-unicode-resize.cast"}

// nasty is a soup of everything the filter must keep apart.
func nasty(rng *rand.Rand, n int) []byte {
	pieces := []string{
		"\x1b", "[", "]", "P", "_", "^", "X", "k", "\\", "\x07", "\x18", "\x9c", "\u009c", "\u009b", "\u009d", "\x9b", "52;c;", "?", ">", "<", "=",
		"1", "6", "25", "1049", "2004", ";", ":", "h", "l", "n", "c", "m", "t", "p", "q", "u", "$", "!", " ", "J", "3J", "\r\n", "é", "東", "\xe6\x9d", "\xf0\x9f", "\xff",
		"text", "\x1b[31m", "\x1b[6n", "\x1b]0;t\x07", "\x05", "\x7f", "\x1bc", "\x1b7",
	}
	var b []byte
	for range n {
		b = append(b, pieces[rng.IntN(len(pieces))]...)
	}
	return b
}

func TestHowOutputIsCutMakesNoDifference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	inputs := [][]byte{}
	for _, name := range fixtureNames {
		b := fixtureOutput(t, name)
		inputs = append(inputs, b[:min(len(b), 20000)])
	}
	for range 300 {
		inputs = append(inputs, nasty(rng, 200))
	}
	for _, in := range inputs {
		want := filtered(string(in))
		check(t, []byte(want))
		var f Filter
		var got []byte
		for rest := in; len(rest) > 0; {
			n := min(1+rng.IntN(9), len(rest))
			got = f.Append(got, rest[:n])
			rest = rest[n:]
		}
		if string(got) != want {
			t.Fatalf("%q: in pieces %q, whole %q", in, got, want)
		}
		if again := filtered(want); again != want {
			t.Fatalf("filtered again: %q, want %q", again, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(nasty(rng, 60), uint8(rng.IntN(256)))
	}
	f.Add([]byte("\x1b(X0\x1b)P\x1b*]\x1b(["), uint8(0))
	f.Add([]byte("\x1b]52;c;aGVsbG8=\x1b\\\x1b[6n\u009d0;x\u009c"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		want := filtered(string(in))
		check(t, []byte(want))
		var fl Filter
		var got []byte
		for rest := in; len(rest) > 0; {
			n := min(1+int(step)%7, len(rest))
			got = fl.Append(got, rest[:n])
			rest = rest[n:]
		}
		if string(got) != want {
			t.Fatalf("in pieces %q, whole %q", got, want)
		}
	})
}
