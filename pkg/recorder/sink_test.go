package recorder

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// memory is a sink that takes everything and fails the test when it is given
// what a sink must not be given.
type memory struct {
	t      testing.TB
	quiet  bool // keeps nothing
	done   chan struct{}
	mu     sync.Mutex
	next   int64
	prints []*events.SessionPrint
	alive  []time.Time
	closed bool
}

func newMemory(t testing.TB) *memory { return &memory{t: t, done: make(chan struct{})} }

func (m *memory) Append(ctx context.Context, oneof []byte, index int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || index != m.next || len(oneof) > events.MaxOneOf {
		m.t.Errorf("append event %d of %d bytes (next is %d, closed %t)", index, len(oneof), m.next, m.closed)
	}
	m.next++
	if m.quiet {
		return nil
	}
	one, err := events.Unmarshal(oneof)
	if err != nil {
		m.t.Fatal(err)
	}
	if p := one.GetSessionPrint(); p != nil {
		m.prints = append(m.prints, p)
	}
	return nil
}

func (m *memory) Alive(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive = append(m.alive, time.Now())
	return ctx.Err()
}

func (m *memory) Flush(context.Context) error { return nil }
func (m *memory) End(context.Context) error   { return nil }
func (m *memory) Waiting() error              { return nil }
func (m *memory) Done() <-chan struct{}       { return m.done }
func (m *memory) Err() error                  { return nil }
func (m *memory) Close(context.Context) error { m.closed = true; return nil }

var _ sink = (*bus.Stream)(nil)

func onMemory(t testing.TB, opts Options) (*Session, *memory) {
	t.Helper()
	if opts.Alive == 0 {
		opts.Alive = DefaultAlive
	}
	r := &Recorder{opts: opts, log: slog.New(slog.DiscardHandler), sessions: map[string]*Session{}}
	out := newMemory(t)
	s := newSession(r, Spec{ID: "sid"}, out)
	r.mu.Lock()
	r.track(s)
	r.mu.Unlock()
	return s, out
}

// text has ASCII and sequences of every length.
func text(rnd *rand.Rand, runes int) []byte {
	var b []byte
	for range runes {
		b = utf8.AppendRune(b, []rune("a\né€😀")[rnd.IntN(5)])
	}
	return b
}

func TestNoPrintEndsInsideAUTF8SequenceHoweverOutputIsWritten(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		most := 1 + rnd.IntN(1<<(1+rnd.IntN(17)))
		input := text(rnd, 1+rnd.IntN(min(60_000, 100*most)))
		s, out := onMemory(t, Options{})
		for rest := input; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(most))
			if got, err := s.Write(rest[:n]); got != n || err != nil {
				t.Fatalf("seed %d: Write(%d bytes) = %d, %v", seed, n, got, err)
			}
			rest = rest[n:]
		}
		checkPrints(t, out.prints, input)
		for i, p := range out.prints {
			if !utf8.Valid(p.Data) {
				t.Fatalf("seed %d: print %d of %d is cut: %x", seed, i, len(out.prints), p.Data[max(0, len(p.Data)-8):])
			}
		}
	}
}

func TestBytesThatAreNoUTF8ComeThroughInOrder(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var input []byte
		for range 1 + rnd.IntN(2000) { // lead and continuation bytes, in any order
			input = append(input, []byte{'x', 0xC3, 0xE2, 0xF0, 0x80, 0xBF, 0xFF}[rnd.IntN(7)])
		}
		s, out := onMemory(t, Options{})
		for rest := input; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(5))
			if got, err := s.Write(rest[:n]); got != n || err != nil {
				t.Fatalf("seed %d: Write(%d bytes) = %d, %v", seed, n, got, err)
			}
			rest = rest[n:]
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkPrints(t, out.prints, input)
	}
}

// checkPrints holds prints against what the format says of them.
func checkPrints(t testing.TB, prints []*events.SessionPrint, want []byte) {
	t.Helper()
	var got []byte
	var delay int64
	for i, p := range prints {
		if p.ChunkIndex != int64(i) || p.Offset != int64(len(got)) || p.Bytes != int64(len(p.Data)) {
			t.Fatalf("print %d has chunk %d, offset %d (want %d), bytes %d (want %d)", i, p.ChunkIndex, p.Offset, len(got), p.Bytes, len(p.Data))
		}
		if len(p.Data) == 0 || len(p.Data) > events.MaxPrintData {
			t.Fatalf("print %d has %d bytes", i, len(p.Data))
		}
		if p.DelayMilliseconds < delay || i == 0 && p.DelayMilliseconds != 0 {
			t.Fatalf("print %d has delay %d after %d", i, p.DelayMilliseconds, delay)
		}
		if md := p.Metadata; md.Type != "print" || md.Id != "" || md.Code != "" || md.Time == nil || md.Time.Nanos%1e6 != 0 {
			t.Fatalf("print %d has metadata %v", i, md)
		}
		delay = p.DelayMilliseconds
		got = append(got, p.Data...)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("prints hold %d bytes, and not the %d that were written", len(got), len(want))
	}
}

func TestDelaysCountFromTheFirstPrintByTheMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := onMemory(t, Options{})
		time.Sleep(3 * time.Second) // before the first print: counts for nothing
		for _, wait := range []time.Duration{0, 1500 * time.Millisecond, 0, 2 * time.Hour} {
			time.Sleep(wait)
			if _, err := s.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		want := []int64{0, 1500, 1500, 2*3600_000 + 1500}
		for i, p := range out.prints {
			if p.DelayMilliseconds != want[i] {
				t.Errorf("print %d has delay %d, want %d", i, p.DelayMilliseconds, want[i])
			}
		}
		s.shut()
	})
}

func TestNoSilenceIsLongerThanTheAliveTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := onMemory(t, Options{})
		spoke := []time.Time{time.Now()}
		for range 40 { // output now and then, over some hours
			time.Sleep(time.Duration(rand.Int64N(int64(25 * time.Minute))))
			if _, err := s.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			spoke = append(spoke, time.Now())
		}
		s.shut()
		time.Sleep(time.Hour)
		synctest.Wait()
		last := time.Time{}
		for _, at := range merge(spoke, out.alive) {
			if gap := at.Sub(last); !last.IsZero() && gap > DefaultAlive {
				t.Errorf("silent for %s", gap)
			}
			last = at
		}
		if end := spoke[len(spoke)-1]; out.alive[len(out.alive)-1].After(end) {
			t.Error("a closed session said that it is alive")
		}
		if len(out.alive) > 200 {
			t.Errorf("%d alive messages in some 8 hours", len(out.alive))
		}
	})
}

func merge(a, b []time.Time) []time.Time {
	var all []time.Time
	for len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Before(b[0]) {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return all
}

func TestATailThatNothingFollowsIsWrittenWhenTheSessionSaysThatItIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := onMemory(t, Options{})
		if _, err := s.Write([]byte("caf\xc3")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultAlive)
		synctest.Wait()
		checkPrints(t, out.prints, []byte("caf\xc3"))
		s.shut()
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{1, 300, 4096, 100_000} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			s, out := onMemory(b, Options{})
			out.quiet = true
			data := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Write(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
