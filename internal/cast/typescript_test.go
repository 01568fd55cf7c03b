package cast

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTypescriptHeaders(t *testing.T) {
	const out = "Script started on 2024-01-02 03:04:05+01:00 [COMMAND=\"echo \"x y\"\" TERM=\"xterm\" TTY=\"/dev/pts/0\" COLUMNS=\"90\" LINES=\"20\"]\nab"
	tests := []struct {
		name, out, timing string
		want              Header
	}{
		{"new", out, "0.5 2\n", Header{Width: 90, Height: 20, Command: `echo "x y"`, TermType: "xterm", Start: time.Date(2024, 1, 2, 2, 4, 5, 0, time.UTC)}},
		{"not on a terminal", "Script started on 2024-01-02 03:04:05+00:00 [<not executed on terminal>]\nab", "0.5 2\n",
			Header{Width: 80, Height: 24, Start: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}},
		{"old", "Script started on Tue Jan  2 03:04:05 2024\nab", "0.5 2\n", Header{Width: 80, Height: 24, Start: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}},
		{"in another language", "Script started on Mardi 2 janvier\nab", "0.5 2\n", Header{Width: 80, Height: 24}},
		{"advanced", out, "H 0.000000 START_TIME 2024-02-02 03:04:05+00:00\nH 0.0 COLUMNS 70\nH 0.0 LINES 10\nH 0.0 COMMAND ls -l\nO 0.5 2\n",
			Header{Width: 70, Height: 10, Command: "ls -l", TermType: "xterm", Start: time.Date(2024, 2, 2, 3, 4, 5, 0, time.UTC)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewTypescript(strings.NewReader(tt.out), strings.NewReader(tt.timing))
			if err != nil {
				t.Fatal(err)
			}
			h := s.Header()
			if h.Width != tt.want.Width || h.Height != tt.want.Height || h.Command != tt.want.Command || h.TermType != tt.want.TermType || !h.Start.Equal(tt.want.Start) {
				t.Errorf("header is %+v, want %+v", h, tt.want)
			}
			all, err := drain(s)
			if err != nil {
				t.Fatal(err)
			}
			sameEvents(t, all, []Event{{Time: 500 * time.Millisecond, Code: Output, Data: []byte("ab")}})
		})
	}
}

func TestTypescriptStreamsAndSignals(t *testing.T) {
	const timing = `H 0.0 OUTPUT_LOG both
H 0.0 INPUT_LOG both
O 0.1 2
I 0.1 3
S 0.1 SIGWINCH ROWS=50 COLS=100
S 0.1 SIGTERM
O 0.1 1
H 0.0 DURATION 1.0
`
	s, err := NewTypescript(strings.NewReader("Script started on x\nabxyzc\nScript done"), strings.NewReader(timing))
	if err != nil {
		t.Fatal(err)
	}
	all, err := drain(s)
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	sameEvents(t, all, []Event{
		{Time: 100 * ms, Code: Output, Data: []byte("ab")},
		{Time: 200 * ms, Code: Input, Data: []byte("xyz")},
		{Time: 300 * ms, Code: Resize, Data: []byte("100x50")},
		{Time: 500 * ms, Code: Output, Data: []byte("c")},
	})
}

func FuzzTypescript(f *testing.F) {
	f.Add([]byte("Script started on x\nabc"), []byte("0.1 2\n0.2 1\n"))
	f.Add([]byte("Script started on x [COLUMNS=\"1\" LINES=\"2\"]\nabc"), []byte("H 0 START_TIME x\nO 0.1 2\nS 1 SIGWINCH ROWS=1 COLS=2\nI 0.2 1\n"))
	f.Fuzz(func(t *testing.T, out, timing []byte) {
		s, err := NewTypescript(bytes.NewReader(out), bytes.NewReader(timing))
		if err != nil {
			return
		}
		all, _ := drain(s)
		var text []byte
		var last time.Duration
		for _, e := range all {
			if e.Time < last || e.Time > MaxTime {
				t.Fatalf("time %v after %v", e.Time, last)
			}
			last = e.Time
			if e.Code != Resize {
				text = append(text, e.Data...)
			}
		}
		if _, body, _ := bytes.Cut(out, []byte("\n")); !bytes.HasPrefix(body, text) {
			t.Fatalf("output %q is not what %q begins with", text, body)
		}
	})
}
