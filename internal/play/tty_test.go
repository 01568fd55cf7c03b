package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// TestMain is the player itself when a test runs this binary on a terminal.
func TestMain(m *testing.M) {
	file := os.Getenv("PLAY_TEST_FILE")
	if file == "" {
		os.Exit(m.Run())
	}
	o := Options{Speed: 1}
	o.At, _ = time.ParseDuration(os.Getenv("PLAY_TEST_AT"))
	o.Raw = os.Getenv("PLAY_TEST_RAW") != ""
	if speed, err := strconv.ParseFloat(os.Getenv("PLAY_TEST_SPEED"), 64); err == nil {
		o.Speed = speed
	}
	if err := OnTerminal(context.Background(), o, openCast(file), nil, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// openCast gives the records that an asciicast becomes.
func openCast(file string) Open {
	return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return func(yield func(slicefmt.Record, error) bool) {
			f, err := os.Open(file)
			if err != nil {
				yield(slicefmt.Record{}, err)
				return
			}
			defer f.Close()
			r, err := cast.NewReader(f)
			for first := time.Duration(-1); err == nil && ctx.Err() == nil; {
				var e cast.Event
				if e, err = r.Next(); err == nil && e.Code == cast.Output {
					if first < 0 {
						first = e.Time
					}
					if !yield(printRecord(e, first), nil) {
						return
					}
				}
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(slicefmt.Record{}, err)
			}
		}
	}
}

func printRecord(e cast.Event, first time.Duration) slicefmt.Record {
	one, err := events.Wrap(&events.SessionPrint{
		Metadata: &events.Metadata{Time: timestamppb.New(time.Unix(1e9, 0).Add(e.Time))},
		Data:     e.Data, DelayMilliseconds: (e.Time - first).Milliseconds(),
	})
	if err != nil {
		panic(err)
	}
	b, err := events.Marshal(one)
	if err != nil {
		panic(err)
	}
	h, err := events.Scan(b)
	if err != nil {
		panic(err)
	}
	return slicefmt.Record{OneOf: b, Header: h}
}

// player is the command that plays a fixture, with settings of TestMain.
func player(t *testing.T, name string, env ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs(filepath.Join("../cast/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(env, "PLAY_TEST_FILE="+file, exe), " ")
}

// lines are the lines of a screen that have something on them.
func lines(screen string) string { return strings.Trim(screen, "\n ") }

func TestOnATerminalTheLastScreenIsThatOfTheBytes(t *testing.T) {
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := shown(t, 100, 30, fixtureOutput(t, name))
			envs := []string{"PLAY_TEST_SPEED=16", "PLAY_TEST_AT=1h"}
			if name != "vim-unicode-resize.cast" { // which asks, and the answers may show
				envs = append(envs, "PLAY_TEST_RAW=1 PLAY_TEST_AT=1h")
			}
			for _, env := range envs {
				m := newTmux(t, 100, 30, player(t, name, env))
				if got := m.settled(); lines(got) != lines(want) {
					t.Errorf("%s shows\n%s\nwant\n%s", env, got, want)
				}
			}
		})
	}
}

// slow leaves time to press keys.
const slow = "PLAY_TEST_SPEED=0.25"

func TestKeysOnATerminal(t *testing.T) {
	t.Parallel()
	m := newTmux(t, 100, 30, player(t, "flood.cast", slow))
	m.until("the beginning", func() bool { return strings.Contains(m.screen(), "demo@demo") })
	m.run("send-keys", "Space")
	time.Sleep(300 * time.Millisecond)
	paused := m.screen()
	time.Sleep(500 * time.Millisecond)
	if got := m.screen(); got != paused {
		t.Errorf("paused, it went on:\n%s\nafter\n%s", got, paused)
	}
	m.run("send-keys", "Right") // 5 s on: into the flood
	m.until("the flood", func() bool { return strings.Contains(m.screen(), "line 1") || strings.Count(m.screen(), "\n") > 20 })
	// The burst may still be on its way to the screen.
	var flood string
	m.until("the flood to stand still", func() bool {
		was := flood
		flood = m.screen()
		time.Sleep(300 * time.Millisecond)
		return flood == was
	})
	m.run("send-keys", "Left") // and back: close to the start
	m.until("the beginning again", func() bool { return strings.Count(m.screen(), "\n") < 20 })
	m.run("send-keys", "Right")
	m.until("the flood again", func() bool { return m.screen() == flood })
	m.run("send-keys", "q")
	m.settled()
}

func TestTheTerminalIsAsItWasAfterQuitting(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"q", "C-c"} {
		dir := t.TempDir()
		before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
		m := newTmux(t, 100, 30, fmt.Sprintf("echo shell; stty -a > %s; %s; stty -a > %s", before, player(t, "htop.cast", slow), after))
		m.until("the program", func() bool { return strings.Contains(m.screen(), "Mem") })
		if flag := m.run("display", "-p", "#{alternate_on} #{mouse_any_flag}"); strings.TrimSpace(flag) != "1 0" {
			t.Errorf("alternate screen and mouse are %q, want on and off", flag)
		}
		m.run("send-keys", key)
		m.settled()
		if flag := m.run("display", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{scroll_region_lower}"); strings.TrimSpace(flag) != "0 1 0 29" {
			t.Errorf("%s: alternate screen, cursor, mouse and margin are %q", key, flag)
		}
		a, err := os.ReadFile(before)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(after)
		if err != nil {
			t.Fatal(err)
		}
		if len(a) == 0 || string(a) != string(b) {
			t.Errorf("%s: terminal settings are\n%s\nwere\n%s", key, b, a)
		}
		if history := m.run("capture-pane", "-p", "-S", "-"); !strings.Contains(history, "shell") {
			t.Errorf("%s: what was on the screen before is gone:\n%s", key, history)
		}
	}
}

func TestOnAPipeOnlyTheRecordingIsWritten(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- OnTerminal(t.Context(), Options{Speed: 16}, openCast("../cast/testdata/shell-colours.cast"), nil, w, io.Discard)
		_ = w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := filtered(string(fixtureOutput(t, "shell-colours.cast"))); string(got) != want {
		t.Errorf("wrote %d bytes, want the %d of the recording", len(got), len(want))
	}
}
