package cast

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fixtures are recordings of real programs.
func fixtures(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.cast")
	if err != nil || len(files) != 4 {
		t.Fatalf("fixtures: %v, %v, want 4 files", files, err)
	}
	return files
}

// drain reads a source to its end or its error.
func drain(s Source) ([]Event, error) {
	var all []Event
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

func readCast(t testing.TB, text string) (Header, []Event) {
	t.Helper()
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all, err := drain(r)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header(), all
}

func TestFixturesComeBackFromBothVersions(t *testing.T) {
	for _, name := range fixtures(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			h, want := readCast(t, string(text))
			for _, version := range []int{2, 3} {
				h.Version = version
				var out bytes.Buffer
				w, err := NewWriter(&out, h)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range want {
					if err := w.Write(e); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil || w.Replaced() != 0 {
					t.Fatalf("close: %v, %d bytes replaced", err, w.Replaced())
				}
				gotH, got := readCast(t, out.String())
				if gotH.Width != h.Width || gotH.Height != h.Height || !gotH.Start.Equal(h.Start) ||
					gotH.Command != h.Command || gotH.TermType != h.TermType {
					t.Errorf("version %d: header %+v, want %+v", version, gotH, h)
				}
				sameEvents(t, got, want)
			}
		})
	}
}

func sameEvents(t testing.TB, got, want []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.Time != w.Time || g.Code != w.Code || !bytes.Equal(g.Data, w.Data) || g.JSON != w.JSON {
			t.Fatalf("event %d is %v %q %q, want %v %q %q", i, g.Time, g.Code, g.Data, w.Time, w.Code, w.Data)
		}
	}
}

func TestV3HasCommentsRelativeTimesAndUnknownCodes(t *testing.T) {
	const text = `{"version":3,"term":{"cols":90,"rows":20,"type":"xterm"},"timestamp":1500000000,"new":[1]}
# a comment
[0.5, "o", "a"]
[0.25, "r", "100x50"]

# another
[0.000001, "z", {"any": ["thing"]}]
[1, "x", "3"]`
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := drain(r)
	if err != nil {
		t.Fatal(err)
	}
	sameEvents(t, got, []Event{
		{Time: 500 * time.Millisecond, Code: Output, Data: []byte("a")},
		{Time: 750 * time.Millisecond, Code: Resize, Data: []byte("100x50")},
		{Time: 750001 * time.Microsecond, Code: "z", Data: []byte(`{"any": ["thing"]}`), JSON: true},
		{Time: 1750001 * time.Microsecond, Code: Exit, Data: []byte("3")},
	})
	if r.Comments() != 2 || got[3].Line != 8 {
		t.Errorf("%d comments, exit on line %d, want 2 and 8", r.Comments(), got[3].Line)
	}
	if h := r.Header(); h.Width != 90 || h.Height != 20 || h.TermType != "xterm" || h.Start.Unix() != 1500000000 {
		t.Errorf("header is %+v", h)
	}
}

func TestV3RoundingErrorsDoNotAddUp(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{Version: 3, Width: 80, Height: 24})
	if err != nil {
		t.Fatal(err)
	}
	const step, n = 1333333 * time.Nanosecond, 50000 // a third of a microsecond is lost each time
	for i := range n {
		if err := w.Write(Event{Time: time.Duration(i) * step, Code: Output, Data: []byte(".")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, got := readCast(t, out.String())
	for i, e := range got {
		if d := (e.Time - time.Duration(i)*step).Abs(); d > 500*time.Nanosecond {
			t.Fatalf("event %d is off by %v", i, d)
		}
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	r, err := NewReader(strings.NewReader(`{"version":2,"width":80,"height":24}` + "\n" +
		"[2.0,\"o\",\"a\"]\n[1.0,\"o\",\"b\"]\n[1.5,\"o\",\"c\"]\n[3.0,\"o\",\"d\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := drain(r)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{2, 2, 2, 3} {
		if got[i].Time != want*time.Second {
			t.Errorf("event %d at %v, want %ds", i, got[i].Time, want)
		}
	}
	if r.Backward() != 2 {
		t.Errorf("%d times went back, want 2", r.Backward())
	}
}

const header2 = `{"version":2,"width":80,"height":24}` + "\n"
const header3 = `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"

func TestBadInputNamesLineAndReason(t *testing.T) {
	good := `[0.1,"o","good"]` + "\n"
	tests := []struct {
		name, text string
		line       int
		reason     string
	}{
		{"nothing that is JSON", "hello\n", 1, "not JSON at byte 1"},
		{"no version", "{}\n", 1, `no "version"`},
		{"version 1", `{"version":1,"width":80,"height":24,"stdout":[]}`, 1, "version 1: only 2 and 3"},
		{"version 4", `{"version":4}`, 1, "version 4: only 2 and 3"},
		{"version is a string", `{"version":"2"}`, 1, `"version" is a JSON string`},
		{"an array", `[1,2]`, 1, "JSON array"},
		{"no width", `{"version":2,"height":24}`, 1, "width is 0"},
		{"height negative", `{"version":2,"width":80,"height":-4}`, 1, "height is -4"},
		{"width huge", `{"version":2,"width":70000,"height":24}`, 1, "width is 70000"},
		{"v3 without term", `{"version":3,"width":80,"height":24}`, 1, `no "term"`},
		{"v3 without rows", `{"version":3,"term":{"cols":80}}`, 1, "term.rows is 0"},
		{"timestamp of year 10000", `{"version":2,"width":80,"height":24,"timestamp":253402300800}`, 1, "timestamp"},
		{"header not UTF-8", "{\"version\":2,\"width\":80,\"height\":24,\"title\":\"\xff\"}", 1, "UTF-8"},
		{"event is no JSON", header2 + good + good + "[0.2,\"o\",\"cut", 4, "not JSON at byte"},
		{"event is an object", header2 + good + "{}\n", 3, "JSON object"},
		{"two members", header2 + good + "[1,\"o\"]\n", 3, "2 members"},
		{"four members", header2 + good + "[1,\"o\",\"a\",\"b\"]\n", 3, "4 members"},
		{"time is text", header2 + good + "[\"1\",\"o\",\"a\"]\n", 3, `time "1"`},
		{"time negative", header2 + good + "[-0.1,\"o\",\"a\"]\n", 3, "time -0.1"},
		{"time beyond all", header2 + good + "[1e300,\"o\",\"a\"]\n", 3, "time 1e300"},
		{"time overflows", header2 + good + "[1e999,\"o\",\"a\"]\n", 3, "time 1e999"},
		{"v3 sum too large", header3 + "[9e8,\"o\",\"\"]\n[9e8,\"o\",\"\"]\n", 3, "beyond"},
		{"code is a number", header2 + good + "[1,1,\"a\"]\n", 3, "event code 1"},
		{"code empty", header2 + good + "[1,\"\",\"a\"]\n", 3, "event code"},
		{"output is a number", header2 + good + "[1,\"o\",7]\n", 3, `"o" event is not a string: 7`},
		{"event not UTF-8", header2 + good + "[1,\"o\",\"\xc3\"]\n", 3, "UTF-8"},
		{"a comment in v2", header2 + good + "# no\n", 3, "not JSON"},
		{"line too long", header2 + good + "[1,\"o\",\"" + strings.Repeat("a", MaxLine) + "\"]\n", 3, "16 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Event
			r, err := NewReader(strings.NewReader(tt.text))
			if err == nil {
				got, err = drain(r)
				if _, again := r.Next(); !errors.Is(again, err) {
					t.Errorf("second error is %v, want the first again", again)
				}
			}
			var le *LineError
			if !errors.As(err, &le) || le.Line != tt.line || !strings.Contains(err.Error(), tt.reason) {
				t.Fatalf("error is %v, want line %d and %q", err, tt.line, tt.reason)
			}
			if want := max(strings.Count(tt.text[:len(tt.text)-1], "\n")-1, 0); strings.Contains(tt.text, good) && len(got) != want {
				t.Errorf("%d events before the bad line, want %d", len(got), want)
			}
		})
	}
}

func TestEmptyInputIsEOF(t *testing.T) {
	if _, err := NewReader(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Fatalf("error is %v, want io.EOF", err)
	}
}

func TestParseSize(t *testing.T) {
	if w, h, err := ParseSize("80:25", ':'); w != 80 || h != 25 || err != nil {
		t.Errorf("80:25 is %d, %d, %v", w, h, err)
	}
	for _, bad := range []string{"", "80", "80x", "x24", "0x24", "80x-1", "80x65536", "80x24x1", "+80x24", "80:24"} {
		if _, _, err := ParseSize(bad, 'x'); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, name := range fixtures(f) {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 4000)])
	}
	f.Add([]byte(header3 + "# c\n[0.1,\"z\",{}]\n[1e9,\"x\",\"0\"]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		events, _ := drain(r)
		// Whatever was read can be written, and read again as the same.
		var out bytes.Buffer
		h := r.Header()
		w, err := NewWriter(&out, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, again := readCast(t, out.String())
		if len(again) > len(events) {
			t.Fatalf("%d events written, %d read", len(events), len(again))
		}
	})
}
