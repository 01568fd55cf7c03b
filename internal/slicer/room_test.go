package slicer

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// With no room for checkpoints and no memory left, slices that could be parts are
// made into parts, though they should have grown: else nothing would be read again,
// not even what ends a session.
func TestSlicesAreClosedEarlyWhenNothingElseGivesRoom(t *testing.T) {
	r := newRigOn(t, bus.Layout{Partitions: 1, EventsMaxBytes: 512 << 20, UploadsMaxBytes: 8 << 20})
	r.cfg.PartSize, r.cfg.PartSizeMax = 64<<20, 64<<20
	r.cfg.MemoryBudget = 32 << 20 // four slices that are just large enough
	r.cfg.HungAfter = time.Minute
	var ps []*producer
	for i := range 4 {
		ps = append(ps, r.session(fmt.Sprintf("large-%d", i)))
	}
	for range 12 {
		for _, p := range ps {
			p.prints(25, 40<<10)
		}
	}
	for _, p := range ps {
		p.end()
	}
	r.start()
	for _, p := range ps {
		if res := p.verify(); len(res.parts) < 2 {
			t.Errorf("session %s has %d parts; memory was never short", p.sid, len(res.parts))
		}
	}
}

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
