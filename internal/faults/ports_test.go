package faults

import (
	"slices"
	"testing"
)

func TestAPromisedPortIsGivenToNobodyElse(t *testing.T) {
	ports, err := freePorts(100)
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 { // of some 28,000 that there are
		ln, err := listen()
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if slices.Contains(ports, portOf(ln)) {
			t.Fatalf("port %d is given twice", portOf(ln))
		}
	}
}
