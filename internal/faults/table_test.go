package faults

import (
	"strings"
	"testing"
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
	for _, row := range Rows() {
		if strings.Contains(row.spec, "put-part/after=crash") {
			if err := b.Run(t.Context(), row); err != nil {
				t.Errorf("%s: %v", row.Name(), err)
			}
		}
	}
}
