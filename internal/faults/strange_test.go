package faults

import (
	"fmt"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Whatever a producer does, its partition goes on, the session has the recording
// that its good events make, and the rest is kept beside it.
func TestNoProducerStopsAPartition(t *testing.T) {
	t.Parallel()
	b := twoPartitions(t)
	for i, o := range oddities {
		t.Run(o.name, func(t *testing.T) {
			if err := o.check(b.r.stranger(t.Context(), fmt.Sprintf("strange-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	good := b.sessions(Row{})
	if err := b.produce(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(t.Context(), good); err != nil {
		t.Errorf("after all of them: %v", err)
	}
}

func twoPartitions(t *testing.T) *Bench {
	t.Helper()
	r, err := NewRig(t.Context(), RigConfig{Dir: t.TempDir(), Programs: programs, Partitions: 2, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := &Bench{r: r, log: testLog(t), pub: bus.NewPublisher(r.conn, r.layout, bus.PublisherOptions{})}
	t.Cleanup(b.Close)
	for _, program := range []string{"slicer", "completer"} {
		if err := b.service(program, "a", "").start(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}
