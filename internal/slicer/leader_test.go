package slicer

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// What decides that parts are lost, or that events are old, is asked of the stream's
// leader: a replica that lags would say that they are not there.
func TestWhatDecidesIsAskedOfTheLeader(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("s")
	p.publish(control(bus.ControlAlive, 0), nil)
	p.prints(3, 100)
	late := r.session("late")
	late.next = 2
	late.prints(1, 100)
	within(t, 30*time.Second, "all is durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
	n.leave()

	var direct atomic.Int64
	if _, err := r.conn.NATS().Subscribe("$JS.API.DIRECT.GET.>", func(*nats.Msg) { direct.Add(1) }); err != nil {
		t.Fatal(err)
	}
	pt := newPartition(t.Context(), n.shared, 0, nil)
	pt.deps.Conn = r.conn
	for sid, want := range map[string]uint64{"s": 1, "late": 0, "unknown": 0} {
		if got, err := pt.findStart(t.Context(), sid); err != nil || got != want {
			t.Errorf("session %q begins with message %d, %v; want %d", sid, got, err, want)
		}
	}
	if at, err := pt.timeOf(t.Context(), 1); err != nil || time.Since(at) > time.Hour {
		t.Errorf("message 1 is of %v, %v", at, err)
	}
	if at, err := pt.timeOf(t.Context(), 1000); err != nil || !at.IsZero() {
		t.Errorf("a message that is not there is of %v, %v", at, err)
	}
	if direct.Load() != 0 {
		t.Errorf("%d questions went to any replica", direct.Load())
	}
}
