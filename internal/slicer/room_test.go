package slicer

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Checkpoints of many idle sessions must not fill the upload log: without room for a
// few more records no session could end, and none would ever give its room back.
func TestCheckpointsLeaveRoomInTheLog(t *testing.T) {
	const room = 16 << 20
	r := newRigOn(t, bus.Layout{Partitions: 1, EventsMaxBytes: 512 << 20, UploadsMaxBytes: room})
	r.start()
	var ps []*producer
	for i := range 8 {
		p := r.session(fmt.Sprintf("idle-%d", i))
		p.prints(100, 40<<10)
		ps = append(ps, p)
	}
	used := func() uint64 {
		st, err := r.conn.JetStream().Stream(t.Context(), bus.StreamUploads)
		if err != nil {
			t.Fatal(err)
		}
		return st.CachedInfo().State.Bytes
	}
	within(t, 30*time.Second, "checkpoints up to the limit", func() bool { return used() > room/2 })
	time.Sleep(time.Second) // for those that must not come
	if got := used(); got > room/100*95 {
		t.Errorf("%d of %d bytes are full of checkpoints", got, room)
	}
	for _, p := range ps {
		p.end()
	}
	for _, p := range ps {
		p.verify()
	}
}
