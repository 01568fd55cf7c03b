package importer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/export"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// site is a bus to import to.
type site struct {
	t      *testing.T
	opts   bus.Options
	conn   *bus.Conn
	layout bus.Layout
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, opts: bus.Options{URL: []string{embedtest.NATS(t)}}}
	var err error
	if s.conn, err = bus.Connect(t.Context(), s.opts, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	if s.layout, err = bus.Ensure(t.Context(), s.conn, bus.Layout{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the command with arguments, and returns the session ids and what was
// said.
func (s *site) run(ctx context.Context, stdin io.Reader, args ...string) (sids []string, said string, err error) {
	s.t.Helper()
	var cmd Command
	parser, err := kong.New(&cmd, kong.Exit(func(int) { s.t.Fatal("kong wants to exit") }))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		return nil, "", err
	}
	var out, errs bytes.Buffer
	err = cmd.Run(ctx, Deps{
		Connect: func(ctx context.Context) (*bus.Conn, bus.Layout, error) {
			conn, err := bus.Connect(ctx, s.opts, nil)
			return conn, s.layout, err
		},
		Stdin: stdin, Stdout: &out, Stderr: &errs,
	})
	return strings.Fields(out.String()), errs.String(), err
}

// session reads a session from the bus into a recording, and fails the test if
// the bus does not say that it has ended, with as many events as there are.
func (s *site) session(sid string) []byte {
	s.t.Helper()
	var slice slicefmt.Slice
	defer slice.Reset()
	ended := int64(-1)
	for m, err := range bus.Read(s.t.Context(), s.conn, s.layout, sid, bus.ReadOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if m.Control == bus.ControlEnd {
			ended = m.Count
		}
		for rec, err := range m.Records() {
			if err == nil {
				err = slice.Append(rec)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if slice.Records() == 0 {
		s.t.Fatalf("session %s has no events", sid)
	}
	n := slice.Records()
	part, _, err := slice.Finish(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r := slicefmt.NewReader(bytes.NewReader(part))
	for err == nil {
		_, err = r.Next()
	}
	if c := r.Counts(); !errors.Is(err, io.EOF) || c.Duplicates != 0 || c.Records != n || c.LastIndex+1 != ended {
		s.t.Fatalf("session %s: %v, %+v, the end says %d events", sid, err, c, ended)
	}
	return part
}

func records(recording []byte) iter.Seq2[slicefmt.Record, error] {
	return func(yield func(slicefmt.Record, error) bool) {
		r := slicefmt.NewReader(bytes.NewReader(recording))
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) || !yield(rec, err) {
				return
			}
		}
	}
}

func exported(t *testing.T, recording []byte, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := export.Write(&b, records(recording), export.Options{Format: format, WithData: true}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readCast gives what an asciicast shows: its header, and output and resizes.
func readCast(t *testing.T, b []byte) (cast.Header, []cast.Event, string) {
	t.Helper()
	r, err := cast.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var all []cast.Event
	var text strings.Builder
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), all, text.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Code == cast.Output || e.Code == cast.Resize {
			all = append(all, e)
		}
		if e.Code == cast.Output {
			text.Write(e.Data)
		}
	}
}

func TestFixturesComeBackWithTextTimesAndResizes(t *testing.T) {
	s := newSite(t)
	files, err := filepath.Glob("../cast/testdata/*.cast")
	if err != nil || len(files) != 4 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	sids, said, err := s.run(t.Context(), nil, files...)
	if err != nil || len(sids) != 4 || strings.Count(said, " input events") != 4 {
		t.Fatalf("%v, said %q, %v", sids, said, err)
	}
	for i, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			h, want, text := readCast(t, b)
			rec := s.session(sids[i])
			if got := exported(t, rec, export.Text); string(got) != text {
				t.Errorf("text differs")
			}
			for _, format := range []string{export.Cast2, export.Cast3} {
				gotH, got, gotText := readCast(t, exported(t, rec, format))
				if gotH.Width != h.Width || gotH.Height != h.Height || !gotH.Start.Equal(h.Start) || gotH.Command != h.Command || gotText != text {
					t.Errorf("%s: header %+v, want %+v; text equal: %v", format, gotH, h, gotText == text)
				}
				if len(got) != len(want) {
					t.Fatalf("%s: %d events, want %d", format, len(got), len(want))
				}
				worst := time.Duration(0)
				for k := range want {
					worst = max(worst, (got[k].Time - want[k].Time).Abs())
					if got[k].Code != want[k].Code || !bytes.Equal(got[k].Data, want[k].Data) {
						t.Fatalf("%s: event %d is %q %q, want %q %q", format, k, got[k].Code, got[k].Data, want[k].Code, want[k].Data)
					}
				}
				if worst > 500*time.Microsecond {
					t.Errorf("%s: times are off by up to %v", format, worst)
				}
			}
		})
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const castHead = `{"version":2,"width":80,"height":24,"timestamp":1500000000}` + "\n"
const jsonHead = `{"ei":0,"event":"session.start","uid":"u","code":"T2000I","time":"2024-01-01T00:00:00Z","sid":"the-session","size":"80:24"}` + "\n"

func TestBadInputNamesPlaceAndReasonAndCostsNothingGood(t *testing.T) {
	s := newSite(t)
	good := castHead + `[0.1,"o","good"]` + "\n" + `[0.2,"i","x"]` + "\n"
	_, part := good, recordingOf(t, "good")
	print1 := `{"ei":1,"event":"print","time":"2024-01-01T00:00:01Z","ci":0,"bytes":4,"ms":0,"offset":0,"data":"Z29vZA=="}` + "\n"
	tests := []struct {
		name, file, text string
		args             []string
		want             string // in the error
		saved            bool   // the text "good" is in a session that has ended
	}{
		{"a bad cast line", "a.cast", good + "nonsense\n", nil, "a.cast:4: not JSON", true},
		{"a cast that is cut off", "a.cast", good + `[0.3,"o","cu`, nil, "a.cast:4: not JSON", true},
		{"a resize that is none", "a.cast", good + `[0.3,"r","80"]`, nil, `a.cast:4: size "80"`, true},
		{"a bad header", "a.cast", `{"version":2,"width":0,"height":24}`, nil, "a.cast:1: header: width is 0", false},
		{"a cast of version 1", "a.cast", `{"version":1,"width":80,"height":24}`, nil, "a.cast:1: asciicast version 1", false},
		{"nothing", "a", "", nil, "the file is empty", false},
		{"something else", "a", "hello\n", nil, "--format says which", false},
		{"binary", "a", "\x00\x00\x00\x00\x00\x00\x00\x07more", nil, "--format says which", false},
		{"a typescript alone", "a", "Script started on 2024-01-01\n", nil, "--timing FILE", false},
		{"a bad line of JSON", "a.json", jsonHead + print1 + "{\"event\":\"nonsense\"}\n", nil, "a.json:3: ", true},
		{"JSON without data", "a.json", jsonHead + print1 + `{"ei":2,"event":"print","time":"2024-01-01T00:00:01Z","bytes":4,"ms":0}`, []string{"--session-id", "no-data"}, "a.json:3: the print has no data", true},
		{"an index twice", "a.json", jsonHead + print1 + print1, []string{"--session-id", "twice"}, "a.json:3: index 1 is not above 1", true},
		{"JSON that is none", "a", "x\n", []string{"--format", "json"}, "a:1: ", false},
		{"a recording that is cut off", "a.tar", part + part[:100], nil, "truncated", true},
		{"no recording", "a.tar", "hello, this is not a recording", []string{"--format", "recording"}, "version", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file, tt.text)
			sids, said, err := s.run(t.Context(), nil, append(tt.args, path)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Dir(path)) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if !tt.saved {
				if len(sids) != 0 {
					t.Errorf("session %v was begun", sids)
				}
				return
			}
			if len(sids) != 1 || !strings.Contains(said, "imported") {
				t.Fatalf("sessions %v, said %q", sids, said)
			}
			if got := exported(t, s.session(sids[0]), export.Text); string(got) != "good" {
				t.Errorf("text is %q, want good", got)
			}
		})
	}
}

// recordingOf is a short recording, of a session with a random id.
func recordingOf(t *testing.T, text string) string {
	t.Helper()
	var slice slicefmt.Slice
	defer slice.Reset()
	for i, e := range []events.Event{
		&events.SessionStart{TerminalSize: "80:24"},
		&events.SessionPrint{Data: []byte(text), Bytes: int64(len(text))},
	} {
		one, err := events.Wrap(e)
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *events.SessionStart:
			e.Metadata = &events.Metadata{Index: int64(i), Type: "session.start"}
		case *events.SessionPrint:
			e.Metadata = &events.Metadata{Index: int64(i), Type: "print"}
		}
		b, err := events.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := slice.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	part, _, err := slice.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(part)
}

func TestEventsAreImportedAsTheyAre(t *testing.T) {
	s := newSite(t)
	sids, _, err := s.run(t.Context(), nil, "../cast/testdata/vim-unicode-resize.cast")
	if err != nil {
		t.Fatal(err)
	}
	first := s.session(sids[0])
	tests := []struct {
		name, format string
		args         []string
		stdin        bool
	}{
		{"a recording", export.Recording, nil, false},
		{"JSON lines", export.JSON, nil, false},
		{"JSON lines on standard input", export.JSON, nil, true},
		{"a recording on standard input", export.Recording, []string{"--format", "recording"}, true},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := exported(t, first, tt.format)
			args := append(tt.args, "--session-id", "copy-"+string(rune('a'+i)))
			var in io.Reader
			if tt.stdin {
				in = bytes.NewReader(data)
				args = append(args, "-")
			} else {
				args = append(args, write(t, "file", string(data)))
			}
			sids, said, err := s.run(t.Context(), in, args...)
			if err != nil {
				t.Fatalf("%v (%s)", err, said)
			}
			if !bytes.Equal(s.session(sids[0]), first) { // the same records, so the same part
				t.Error("events differ")
			}
		})
	}
	t.Run("under the id of the events", func(t *testing.T) {
		other := newSite(t)
		got, _, err := other.run(t.Context(), nil, write(t, "file", string(exported(t, first, export.JSON))))
		if err != nil || len(got) != 1 || got[0] != sids[0] {
			t.Fatalf("session %v, %v, want %v", got, err, sids)
		}
	})
	t.Run("twice is refused", func(t *testing.T) {
		_, _, err := s.run(t.Context(), nil, write(t, "file", string(first)))
		if !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrEnded) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestIndexesThatJumpAreKeptAndTold(t *testing.T) {
	s := newSite(t)
	line := func(ei, typ string) string {
		return `{"ei":` + ei + `,"event":"` + typ + `","time":"2024-01-01T00:00:00Z"}` + "\n"
	}
	text := line("3", "session.start") + line("7", "session.join") + line("2147483647", "session.upload") + line("9", "session.leave")
	sids, said, err := s.run(t.Context(), nil, write(t, "a", text))
	if err != nil || !strings.Contains(said, "imported 3 events") || !strings.Contains(said, "left out 1 session.upload") || !strings.Contains(said, "7 indexes are missing") {
		t.Fatalf("said %q, %v", said, err)
	}
	if rec := exported(t, s.session(sids[0]), export.JSON); !bytes.Contains(rec, []byte(`"ei":9`)) {
		t.Errorf("events are %s", rec)
	}
	sids, said, err = s.run(t.Context(), nil, "--renumber", write(t, "a", text))
	if err != nil || strings.Contains(said, "missing") {
		t.Fatalf("said %q, %v", said, err)
	}
	if rec := exported(t, s.session(sids[0]), export.JSON); !bytes.Contains(rec, []byte(`{"ei":2,"event":"session.leave"`)) {
		t.Errorf("events are %s", rec)
	}
}

func TestLeftOutEventsAreCounted(t *testing.T) {
	s := newSite(t)
	text := `{"version":3,"term":{"cols":80,"rows":24}}
[0.1,"o","text"]
[0.1,"i","k"]
[0.1,"i","k"]
[0.1,"m","here"]
[0.1,"z",[1]]
[0.1,"x","0"]
`
	sids, said, err := s.run(t.Context(), nil, "--start", "2020-02-03T04:05:06Z", "--user", "joe", "--login", "root", "--host", "h", write(t, "a", text))
	if err != nil || !strings.Contains(said, "left out 2 input, 1 marker, 1 exit, 1 \"z\" events") {
		t.Fatalf("said %q, %v", said, err)
	}
	rec := string(exported(t, s.session(sids[0]), export.JSON))
	for _, want := range []string{`"time":"2020-02-03T04:05:06Z"`, `"user":"joe"`, `"login":"root"`, `"server_hostname":"h"`, `"session_stop":"2020-02-03T04:05:06.6Z"`, `"participants":["joe"]`} {
		if !strings.Contains(rec, want) {
			t.Errorf("no %s in %s", want, rec)
		}
	}
}

func TestAnInterruptionEndsTheSession(t *testing.T) {
	s := newSite(t)
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = io.WriteString(w, castHead+`[0.1,"o","good"]`+"\n")
		time.Sleep(200 * time.Millisecond) // the reader has it
		cancel()
	}()
	sids, _, err := s.run(ctx, r, "-")
	if !errors.Is(err, context.Canceled) || len(sids) != 1 {
		t.Fatalf("sessions %v, %v", sids, err)
	}
	if got := exported(t, s.session(sids[0]), export.Text); string(got) != "good" {
		t.Errorf("text is %q", got)
	}
}

func TestOutputIsCutBetweenCharacters(t *testing.T) {
	for shift := range 4 {
		data := []byte(strings.Repeat("x", shift) + strings.Repeat("😀", 40000))
		var sizes int
		for len(data) > 0 {
			n := cut(data)
			if n > events.MaxPrintData || n < 1 || n < len(data) && (n-shift)%4 != 0 && sizes == 0 {
				t.Fatalf("shift %d: cut at %d", shift, n)
			}
			data = data[n:]
			sizes++
		}
		if want := int(math.Ceil(160000.0 / events.MaxPrintData)); sizes != want {
			t.Errorf("shift %d: %d prints, want %d", shift, sizes, want)
		}
	}
	if n := cut(bytes.Repeat([]byte{0x80}, 70000)); n != events.MaxPrintData {
		t.Errorf("what is no text is cut at %d", n)
	}
}

func TestFlagsSayEverythingThatIsWrong(t *testing.T) {
	err := (&Command{Files: []string{"a", "b"}, Session: "not valid", Node: "a.b", Timing: "t"}).Validate()
	for _, want := range []string{"2", `"not valid"`, `"a.b"`, "one typescript"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s in it", err, want)
		}
	}
	s := newSite(t)
	if _, _, err := s.run(t.Context(), nil, "--start", "yesterday", "x"); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("error is %v", err)
	}
	if _, _, err := s.run(t.Context(), nil, filepath.Join(t.TempDir(), "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("error is %v", err)
	}
}

// script runs util-linux script with the given flags; %d stands for the
// directory.
func script(t *testing.T, flags ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := range flags {
		flags[i] = strings.ReplaceAll(flags[i], "%d", dir)
	}
	cmd := exec.Command("script", append([]string{"-q", "-E", "never", "-c", `printf 'h\303\251llo\r\n'; sleep 0.3; printf 'w\303'; sleep 0.1; printf '\266rld\n'`}, flags...)...)
	cmd.Stdin = strings.NewReader("typed\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("script: %v: %s", err, out)
	}
	return dir
}

func TestTypescripts(t *testing.T) {
	s := newSite(t)
	tests := []struct {
		name  string
		flags []string
		left  string
	}{
		{"classic", []string{"-m", "classic", "-T", "%d/timing", "-O", "%d/out"}, ""},
		{"advanced, output alone", []string{"-m", "advanced", "-T", "%d/timing", "-O", "%d/out"}, ""},
		{"advanced, input in a file of its own", []string{"-T", "%d/timing", "-O", "%d/out", "-I", "%d/in"}, "left out 1 input"},
		{"advanced, both in one file", []string{"-T", "%d/timing", "-B", "%d/out"}, "left out 1 input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := script(t, tt.flags...)
			sids, said, err := s.run(t.Context(), nil, "--timing", filepath.Join(dir, "timing"), filepath.Join(dir, "out"))
			if err != nil || !strings.Contains(said, tt.left) {
				t.Fatalf("said %q, %v", said, err)
			}
			rec := s.session(sids[0])
			if got := string(exported(t, rec, export.Text)); got != "héllo\r\r\nwörld\r\n" && got != "héllo\r\nwörld\r\n" {
				t.Errorf("text is %q", got)
			}
			h, events, _ := readCast(t, exported(t, rec, export.Cast3))
			last := events[len(events)-1].Time
			if last < 350*time.Millisecond || last > 5*time.Second || time.Since(h.Start).Abs() > time.Minute {
				t.Errorf("the last event is at %v, the start %v", last, h.Start)
			}
		})
	}
}

func TestBadTypescripts(t *testing.T) {
	s := newSite(t)
	const out = "Script started on 2024-01-01 00:00:00+00:00 [TERM=\"xterm\" TTY=\"/dev/pts/0\" COLUMNS=\"90\" LINES=\"20\"]\ngood and more"
	tests := []struct {
		name, out, timing, want, text string
	}{
		{"a bad timing line", out, "0.1 4\nnonsense\n", "timing:2: timing entry", "good"},
		{"a bad delay", out, "0.1 4\n0.x 4\n", `timing:2: time 0.x`, "good"},
		{"a bad length", out, "0.1 4\n0.1 -4\n", `timing:2: length "-4"`, "good"},
		{"a length beyond all", out, "0.1 4\n0.1 99999999999\n", "timing:2: length", "good"},
		{"a typescript that is too short", out, "0.1 4\n0.1 200\n", "timing:2: typescript ends 9 bytes into an entry of 200", "good and more"},
		{"a bad window change", out, "O 0.1 4\nS 0.1 SIGWINCH ROWS=0 COLS=80\n", "timing:2: window change", "good"},
		{"a typescript without its header", "hello\n", "0.1 4\n", "does not begin", ""},
		{"a bad header entry", out, "H 0 COLUMNS many\nO 0.1 4\n", "timing:1: header COLUMNS", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sids, _, err := s.run(t.Context(), nil, "--format", "typescript", "--timing", write(t, "timing", tt.timing), write(t, "out", tt.out))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if tt.text == "" {
				if len(sids) > 0 {
					t.Errorf("session %v was begun", sids)
				}
				return
			}
			rec := s.session(sids[0])
			if got := exported(t, rec, export.Text); string(got) != tt.text {
				t.Errorf("text is %q, want %q", got, tt.text)
			}
			if h, _, _ := readCast(t, exported(t, rec, export.Cast2)); h.Width != 90 || h.Height != 20 {
				t.Errorf("size is %dx%d, want 90x20", h.Width, h.Height)
			}
		})
	}
}
