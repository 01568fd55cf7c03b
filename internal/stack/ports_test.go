package stack

import "testing"

// Of two installations that start at once the second takes another port, though the
// first's server does not listen yet.
func TestAChosenPortIsNotChosenAgain(t *testing.T) {
	probe, err := reserve(0)
	if err != nil {
		t.Fatal(err)
	}
	def := probe.port()
	probe.free()
	first, err := choosePort("NATS", "--nats-port", 0, 0, def)
	if err != nil {
		t.Fatal(err)
	}
	defer first.free()
	second, err := choosePort("NATS", "--nats-port", 0, 0, def)
	if err != nil {
		t.Fatal(err)
	}
	defer second.free()
	if first.port() != def || second.port() == def {
		t.Errorf("ports %d and %d, want %d and another", first.port(), second.port(), def)
	}
}
