package play

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var errCut = errors.New("the recording is cut here")

// record encodes an event as a reader of a recording gives it.
func record(t testing.TB, e events.Event, index int64, at time.Time) slicefmt.Record {
	t.Helper()
	one, err := events.Wrap(e)
	if err != nil {
		t.Fatal(err)
	}
	md := e.GetMetadata()
	md.Index, md.Time = index, timestamppb.New(at)
	b, err := events.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	h, err := events.Scan(b)
	if err != nil {
		t.Fatal(err)
	}
	return slicefmt.Record{OneOf: b, Header: h}
}

// session makes the records of a terminal session out of events.
func session(t testing.TB, width, height int, all ...cast.Event) []slicefmt.Record {
	t.Helper()
	begin := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	start := &events.SessionStart{Metadata: &events.Metadata{}, TerminalSize: cast.FormatSize(width, height, ':')}
	recs := []slicefmt.Record{record(t, start, 0, begin)}
	first := time.Duration(-1)
	for i, e := range all {
		var ev events.Event
		if e.Code == cast.Resize {
			ev = &events.Resize{Metadata: &events.Metadata{}, TerminalSize: strings.Replace(string(e.Data), "x", ":", 1)}
		} else {
			if first < 0 {
				first = e.Time
			}
			ev = &events.SessionPrint{Metadata: &events.Metadata{}, Data: e.Data, DelayMilliseconds: (e.Time - first).Milliseconds()}
		}
		recs = append(recs, record(t, ev, int64(i+1), begin.Add(e.Time)))
	}
	return recs
}

// from plays records that are there already; then comes err, if any.
func from(recs []slicefmt.Record, err error) Open {
	return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return func(yield func(slicefmt.Record, error) bool) {
			for _, r := range recs {
				if ctx.Err() != nil || !yield(r, nil) {
					return
				}
			}
			if err != nil {
				yield(slicefmt.Record{}, err)
			}
		}
	}
}

// a clocked writer notes when what was written.
type clocked struct {
	begin time.Time
	log   []string
	all   bytes.Buffer
}

func (c *clocked) Write(b []byte) (int, error) {
	c.log = append(c.log, fmt.Sprintf("%v %s", time.Since(c.begin).Round(time.Millisecond), b))
	return c.all.Write(b)
}

// play runs a player in a bubble; press sends keys after waiting.
func playFor(t *testing.T, p *Player, press func(key func(Key))) (log []string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		out := &clocked{begin: time.Now()}
		keys := make(chan Key)
		p.Out, p.Keys = out, keys
		if p.Speed == 0 {
			p.Speed = 1
		}
		done := make(chan struct{})
		go func() { defer close(done); err = p.Run(t.Context()) }()
		if press != nil {
			press(func(k Key) {
				select {
				case keys <- k:
				case <-done:
				}
			})
		}
		<-done
		log = out.log
	})
	return log, err
}

func out(at time.Duration, data string) cast.Event {
	return cast.Event{Time: at, Code: cast.Output, Data: []byte(data)}
}

// steady is ten outputs, a second apart.
func steady(t testing.TB) []slicefmt.Record {
	var all []cast.Event
	for i := range 10 {
		all = append(all, out(time.Duration(i)*time.Second, string(rune('a'+i))))
	}
	return session(t, 80, 24, all...)
}

// sync is what a burst writes.
func burstOf(s string) string { return "\x1b[?2026h" + s + "\x1b[?2026l" }

func TestPlayingKeepsTime(t *testing.T) {
	recs := session(t, 80, 24, out(0, "a"), out(time.Second, "b"), out(61*time.Second, "c"), out(61*time.Second, "d"), out(62*time.Second, "e"))
	const sec = time.Second
	tests := []struct {
		name  string
		opts  Options
		press func(key func(Key))
		want  []string
	}{
		{"as it was", Options{}, nil, []string{"0s a", "1s b", "1m1s c", "1m1s d", "1m2s e"}},
		{"twice as fast", Options{Speed: 2}, nil, []string{"0s a", "500ms b", "30.5s c", "30.5s d", "31s e"}},
		{"slower", Options{Speed: 0.25}, nil, []string{"0s a", "4s b", "4m4s c", "4m4s d", "4m8s e"}},
		{"short pauses", Options{MaxIdle: 500 * time.Millisecond}, nil, []string{"0s a", "500ms b", "1s c", "1s d", "1.5s e"}},
		{"from a time on", Options{At: 60 * sec}, nil, []string{"0s " + burstOf("ab"), "1s c", "1s d", "2s e"}},
		{"from beyond the end", Options{At: time.Hour}, nil, []string{"0s " + burstOf("abcde")}},
		{"paused", Options{}, func(key func(Key)) {
			time.Sleep(30 * sec)
			key(KeyPause)
			time.Sleep(100 * sec)
			key(KeyPause)
		}, []string{"0s a", "1s b", "2m41s c", "2m41s d", "2m42s e"}},
		{"paused and stepped", Options{}, func(key func(Key)) {
			time.Sleep(30 * sec)
			for _, k := range []Key{KeyPause, KeyStep, KeyStep} {
				key(k)
			}
			time.Sleep(10 * sec)
			key(KeyPause)
		}, []string{"0s a", "1s b", "30s c", "30s d", "41s e"}},
		{"faster on the way", Options{}, func(key func(Key)) {
			time.Sleep(31 * sec)
			key(KeyFaster)
			time.Sleep(5 * sec)
			key(KeySlower)
		}, []string{"0s a", "1s b", "56s c", "56s d", "57s e"}},
		{"speed has its limits", Options{}, func(key func(Key)) {
			time.Sleep(31 * sec)
			for range 20 {
				key(KeyFaster)
			}
		}, []string{"0s a", "1s b", "32.875s c", "32.875s d", "32.938s e"}},
		{"quit", Options{}, func(key func(Key)) { time.Sleep(2 * sec); key(KeyQuit) }, []string{"0s a", "1s b"}},
		{"forward within a pause", Options{}, func(key func(Key)) { time.Sleep(2 * sec); key(KeyForward) },
			[]string{"0s a", "1s b", "56s c", "56s d", "57s e"}},
		{"back from a pause", Options{}, func(key func(Key)) { time.Sleep(5500 * time.Millisecond); key(KeyBack); key(KeyPause); key(KeyPause) },
			[]string{"0s a", "1s b", "5.5s " + home, "5.5s " + burstOf("a"), "6s b", "1m6s c", "1m6s d", "1m7s e"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := playFor(t, &Player{Options: tt.opts, Open: from(recs, nil)}, tt.press)
			if err != nil || strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Errorf("played %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

// home is what a seek backwards begins with.
var home = func() string {
	var s state
	return string(s.appendDefaults(nil)) + clearScreen
}()

func TestSeekingWhilePausedStaysPaused(t *testing.T) {
	got, err := playFor(t, &Player{Open: from(steady(t), nil)}, func(key func(Key)) {
		time.Sleep(1500 * time.Millisecond)
		key(KeyPause)
		key(KeyForward)
		time.Sleep(time.Minute)
		key(KeyBack)
		time.Sleep(time.Minute)
		key(KeyQuit)
	})
	want := []string{"0s a", "1s b", "1.5s " + burstOf("cdefg"), "1m1.5s " + home, "1m1.5s " + burstOf("ab")}
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("played %q, %v\nwant %q", got, err, want)
	}
}

// live is a session that goes on: records come at their times.
func live(recs []slicefmt.Record, at []time.Duration) Open {
	begin := time.Now()
	return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return func(yield func(slicefmt.Record, error) bool) {
			for i, r := range recs {
				select {
				case <-time.After(time.Until(begin.Add(at[i]))):
				case <-ctx.Done():
					return
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

func TestFollowingShowsWhatHasBeenAndGoesOn(t *testing.T) {
	recs := session(t, 80, 24, out(0, "a"), out(time.Hour, "b"), out(2*time.Hour, "c"), out(2*time.Hour+time.Second, "d"))
	at := []time.Duration{0, 0, 0, 10 * time.Second, 11 * time.Second}
	tests := []struct {
		name  string
		press func(key func(Key))
		want  []string
	}{
		{"to the end", nil, []string{"300ms " + burstOf("ab"), "10s c", "11s d"}},
		{"paused for a while", func(key func(Key)) {
			time.Sleep(5 * time.Second)
			key(KeyPause)
			time.Sleep(20 * time.Second)
			key(KeyForward) // 5 s on: nothing there
			key(KeyPause)
			time.Sleep(time.Second)
			key(KeyQuit)
		}, []string{"300ms " + burstOf("ab")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Player{Options: Options{Follow: true}}
			p.Open = func(ctx context.Context) iter.Seq2[slicefmt.Record, error] { return live(recs, at)(ctx) }
			got, err := playFor(t, p, tt.press)
			if err != nil || strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Errorf("played %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

func TestFollowingAFloodDoesNotWaitForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var recs []slicefmt.Record
		var at []time.Duration
		recs = append(recs, record(t, &events.SessionStart{Metadata: &events.Metadata{}}, 0, begin.Add(-time.Second)))
		at = append(at, 0)
		for i := range 100 {
			d := time.Duration(i-50) * 100 * time.Millisecond
			recs = append(recs, record(t, &events.SessionPrint{Metadata: &events.Metadata{}, Data: []byte("."), DelayMilliseconds: int64(i) * 100}, int64(i+1), begin.Add(d)))
			at = append(at, max(d, 0))
		}
		out := &clocked{begin: begin}
		p := &Player{Options: Options{Speed: 1, Follow: true}, Out: out, Open: live(recs, at)}
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out.log[0] != "0s "+burstOf(strings.Repeat(".", 50)) || len(out.log) != 51 || out.log[50] != "4.9s ." {
			t.Errorf("played %q", out.log)
		}
	})
}

func TestASlowSourceIsNotMadeUpForInARush(t *testing.T) {
	recs := steady(t)
	at := []time.Duration{0, 0, 0, 30 * time.Second, 30 * time.Second, 30 * time.Second}
	p := &Player{}
	p.Open = func(ctx context.Context) iter.Seq2[slicefmt.Record, error] { return live(recs[:6], at)(ctx) }
	got, err := playFor(t, p, nil)
	want := []string{"0s a", "1s b", "30s c", "31s d", "32s e"}
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("played %q, %v, want %q", got, err, want)
	}
}

func TestWhatWasGoodIsPlayedBeforeAnError(t *testing.T) {
	for _, at := range []time.Duration{0, time.Hour} {
		got, err := playFor(t, &Player{Options: Options{At: at}, Open: from(steady(t), errCut)}, nil)
		if !errors.Is(err, errCut) || !strings.Contains(strings.Join(got, ""), "j") {
			t.Errorf("from %v: played %q, %v", at, got, err)
		}
	}
}

func TestADesktopIsRefused(t *testing.T) {
	rec := record(t, &events.DesktopRecording{Metadata: &events.Metadata{}, Message: []byte{2}}, 0, time.Now())
	if _, err := playFor(t, &Player{Open: from([]slicefmt.Record{rec}, nil)}, nil); !errors.Is(err, cast.ErrDesktop) {
		t.Errorf("error is %v, want ErrDesktop", err)
	}
}

func TestTheScreenIsPutBackOnEveryWayOut(t *testing.T) {
	recs := session(t, 120, 40, out(0, "\x1b[?1049h\x1b[31m\x1b[?25l\x1b[5;9r"), out(time.Hour, "never"))
	for _, raw := range []bool{false, true} {
		p := &Player{Options: Options{Raw: raw}, Open: from(recs, errCut), Screen: true, Width: 80, Height: 24}
		var notes bytes.Buffer
		p.Notes = &notes
		got, err := playFor(t, p, func(key func(Key)) { time.Sleep(time.Second); key(KeyQuit) })
		if err != nil || len(got) != 3 {
			t.Fatalf("played %q, %v", got, err)
		}
		end := got[2]
		for _, want := range []string{"\x1b[?1049l", "\x1b[?25h", "\x1b[m", "\x1b7\x1b[r\x1b8"} {
			if !strings.Contains(end, want) {
				t.Errorf("raw %v: %q does not have %q", raw, end, want)
			}
		}
		if strings.Contains(end, "\x1b[?2004l") != raw {
			t.Errorf("raw %v: %q", raw, end)
		}
		if want := "up to 120x40, this one is 80x24"; !strings.Contains(notes.String(), want) {
			t.Errorf("notes are %q, want %q", notes.String(), want)
		}
	}
}

func TestRawLetsEveryByteThrough(t *testing.T) {
	const nasty = "\x1b]52;c;AAAA\x07\xff\x1b[6n"
	recs := session(t, 80, 24, out(0, nasty), out(time.Second, nasty))
	for _, at := range []time.Duration{0, time.Millisecond} {
		got, err := playFor(t, &Player{Options: Options{Raw: true, At: at}, Open: from(recs, nil)}, nil)
		if err != nil || strings.Count(strings.Join(got, ""), nasty) != 2 {
			t.Errorf("from %v: played %q, %v", at, got, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		p := &Player{Options: Options{Speed: 1}, Out: &clocked{}, Open: from(steady(t), nil)}
		if err := p.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestOptionsSayEverythingThatIsWrong(t *testing.T) {
	err := Options{Speed: 17, At: -1, MaxIdle: -1}.Validate()
	for _, want := range []string{"speed 17", "before the start", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
	for _, speed := range []float64{0, math.NaN(), math.Inf(1)} {
		if (Options{Speed: speed}).Validate() == nil {
			t.Errorf("speed %v was taken", speed)
		}
	}
}

func TestKeysArriveHoweverTheyAreSplit(t *testing.T) {
	const typed = " \x1b[C\x1b[D\x1bOC\x1bOD.+-=_q\x03Q\x1b[1;5Cx\x1b[A\x1bx\x1b"
	want := []Key{KeyPause, KeyForward, KeyBack, KeyForward, KeyBack, KeyStep, KeyFaster, KeySlower, KeyFaster, KeySlower, KeyQuit, KeyQuit, KeyQuit, KeyForward}
	var k keyParser
	var got []Key
	for _, c := range []byte(typed) {
		if key, ok := k.next(c); ok {
			got = append(got, key)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("keys are %v, want %v", got, want)
	}
}
