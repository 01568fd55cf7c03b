package mix

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

var start = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// script is all events of a session.
func script(t *testing.T, k Kind, seed, id uint64, n int) [][]byte {
	t.Helper()
	s := NewScript(k, seed, id, "sid", "node", start)
	var all [][]byte
	for range n {
		b, err := s.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	end, err := s.End(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, end)
}

func TestSessionIsTheSameBytesEachTimeItIsMade(t *testing.T) {
	for _, k := range Kinds {
		t.Run(k.Name, func(t *testing.T) {
			const n = 200
			a, b, other := script(t, k, 1, 2, n), script(t, k, 1, 2, n), script(t, k, 1, 3, n)
			size, same := 0, 0
			for i := range a {
				h, err := events.Scan(a[i])
				if err != nil || h.Index != int64(i) || len(a[i]) > events.MaxOneOf {
					t.Fatalf("event %d: %+v, %v, %d bytes", i, h, err, len(a[i]))
				}
				if !bytes.Equal(a[i], b[i]) {
					t.Fatalf("event %d is not the same", i)
				}
				if bytes.Equal(a[i], other[i]) {
					same++
				}
				size += len(a[i])
			}
			if same > n/2 {
				t.Errorf("another session has %d of %d events in common", same, n)
			}
			t.Logf("%d bytes an event", size/len(a))
		})
	}
}

func TestSpreadKeepsTheSharesOfAnyNumberOfSessions(t *testing.T) {
	m, err := Parse("typing=60, flood=5,idle=35")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for i, k := range m.Spread(1000) {
		counts[k.Name]++
		for _, s := range m {
			if owed := s.Weight / 100 * float64(i+1); float64(counts[s.Kind.Name]) > owed+1 || float64(counts[s.Kind.Name]) < owed-1 {
				t.Fatalf("%d %s among the first %d, its share is %.1f", counts[s.Kind.Name], s.Kind.Name, i+1, owed)
			}
		}
	}
}

func TestParseRefusesWhatIsNoMix(t *testing.T) {
	for _, s := range []string{"", "typing=0", "typing=-1", "typing=NaN", "typing=+Inf", "golf=1", "typing=x", "typing=1,,"} {
		if _, err := Parse(s); !errors.Is(err, ErrMix) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
