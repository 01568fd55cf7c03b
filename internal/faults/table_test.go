package faults

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestEveryFailpointHasItsRows(t *testing.T) {
	b, err := NewBench(t.Context(), t.TempDir(), programs, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	names, err := b.Trace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range steps {
		known[s.name] = true
	}
	for name := range names {
		if !known[name] {
			t.Errorf("failpoint %s has no row", name)
		}
	}
	for _, s := range steps {
		if s.scene != forgot && !names[s.name] {
			t.Errorf("step %s is not reached", s.name)
		}
	}
}

// Some rows of the table, others each time; SEED repeats a run.
func TestSomeRowsOfTheTable(t *testing.T) {
	seed := seedOf(t, 0)
	rows := Rows()
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	_, err := RunTable(t.Context(), t.TempDir(), programs, rows[:12], 2, 1, testLog(t), func(res RowResult) {
		if res.Err != nil {
			t.Errorf("%s: %v", res.Row.Name(), res.Err)
		}
		t.Logf("%s: %v", res.Row.Name(), res.Took.Round(100*time.Millisecond))
	})
	if err != nil {
		t.Error(err)
	}
}
