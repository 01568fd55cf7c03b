package cast

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAnySplitOfUnicodeComesBackWhole(t *testing.T) {
	const text = "plain, naïve, 東京, 👩‍👩‍👧‍👦, e\u0301, \u009b, \ufffd, ─│┌┐"
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var c Carry
		var got []byte
		for rest := []byte(text); len(rest) > 0; {
			n := 1 + rng.IntN(min(7, len(rest)))
			got = c.Next(got, rest[:n])
			if !utf8.Valid(got) {
				t.Fatalf("%q is not whole sequences", got)
			}
			rest = rest[n:]
		}
		if got = c.Flush(got); string(got) != text || c.Replaced() != 0 {
			t.Fatalf("got %q, %d replaced", got, c.Replaced())
		}
	}
}

func TestBytesThatAreNoTextAreReplacedAndCounted(t *testing.T) {
	tests := []struct {
		name, in string
		want     string
		replaced int64
	}{
		{"a lone byte", "a\xffb", "a\ufffdb", 1},
		{"a continuation first", "\x80a", "\ufffda", 1},
		{"a sequence broken off", "\xe6\x9da", "\ufffd\ufffda", 2},
		{"unfinished at the end", "a\xf0\x9f\x91", "a\ufffd\ufffd\ufffd", 3},
		{"too long a form", "\xc0\xaf", "\ufffd\ufffd", 2},
		{"a surrogate", "\xed\xa0\x80", "\ufffd\ufffd\ufffd", 3},
		{"a start behind a start", "\xf0\x9f\xe6\x9d\xb1", "\ufffd\ufffd東", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range len(tt.in) + 1 {
				var c Carry
				got := c.Flush(c.Next(c.Next(nil, []byte(tt.in[:cut])), []byte(tt.in[cut:])))
				if string(got) != tt.want || c.Replaced() != tt.replaced {
					t.Errorf("cut at %d: %q, %d replaced, want %q, %d", cut, got, c.Replaced(), tt.want, tt.replaced)
				}
			}
		})
	}
}

func FuzzCarry(f *testing.F) {
	f.Add([]byte("東京 \xf0\x9f\xff é\xc3"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var c Carry
		var got []byte
		for rest := b; len(rest) > 0; {
			n := min(len(rest), int(step)%5+1)
			got = c.Next(got, rest[:n])
			rest = rest[n:]
		}
		got = c.Flush(got)
		if want := strings.ToValidUTF8(string(b), "\x00"); c.Replaced() == 0 && string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		var whole []byte
		for _, r := range string(b) { // ranging decodes as Go does
			whole = utf8.AppendRune(whole, r)
		}
		if !bytes.Equal(got, whole) {
			t.Fatalf("got %q, want %q", got, whole)
		}
	})
}

func TestSplitSequenceIsWrittenWithTheEventThatCompletesIt(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{Version: 2, Width: 80, Height: 24})
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range []string{"a\xe6", "\x9d", "\xb1b", "\xc3"} {
		if err := w.Write(Event{Time: time.Duration(i) * time.Second, Code: Output, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, got := readCast(t, out.String())
	sameEvents(t, got, []Event{
		{Time: 0, Code: Output, Data: []byte("a")},
		{Time: 2 * time.Second, Code: Output, Data: []byte("東b")},
		{Time: 2 * time.Second, Code: Output, Data: []byte("\ufffd")},
	})
	if w.Replaced() != 1 {
		t.Errorf("%d bytes replaced, want 1", w.Replaced())
	}
}
