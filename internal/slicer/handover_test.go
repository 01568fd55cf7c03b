package slicer

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func handover(to string, count int64) nats.Header {
	h := control(bus.ControlHandover, count)
	h.Set(bus.HeaderTo, to)
	return h
}

// refusing is a store that takes no parts of one session until it is told to.
func (r *rig) refusing(sid string) (bad *atomic.Bool) {
	bad = new(atomic.Bool)
	bad.Store(true)
	r.parts = &faultyStore{Store: r.store, t: r.t, fault: func(call, key string, _ int) (error, error) {
		if call == "part" && bad.Load() && strings.Contains(key, sid) {
			return errFault, nil
		}
		return nil, nil
	}}
	return bad
}

// An owner that dies between its base record and the first part leaves a state
// that no message is in. The next one reads the first node's events once more,
// and they are still that node's.
func TestHandoverWithinTheFirstPartSurvivesItsOwner(t *testing.T) {
	r := newRig(t, 1)
	bad := r.refusing("moves")
	n := r.start()
	p := r.session("moves")
	p.prints(70, 40<<10)
	p.publish(handover("n2", p.next), nil)
	p.node = "n2"
	p.prints(70, 40<<10)
	within(t, 30*time.Second, "base record", func() bool { return len(r.entries("moves")) > 0 })
	n.kill()
	bad.Store(false)
	r.start()
	p.end()
	if res := p.verify(); res.end.Outcome != bus.OutcomeComplete || res.state.Late != 0 || res.state.Node != "n2" {
		t.Errorf("outcome %s, %d late, node %s", res.end.Outcome, res.state.Late, res.state.Node)
	}
}

// The second node does not wait for the handover, and what it said too early is
// read again by an owner that has the session in the log only.
func TestWhatASecondNodeSaidTooEarlyIsReadAgain(t *testing.T) {
	r := newRig(t, 1)
	bad := r.refusing("holder")
	n := r.start()
	holder := r.session("holder")
	holder.prints(140, 40<<10) // holds the cursor
	p := r.session("early")
	p.prints(1, 100)
	p.node = "n2"
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(1, []byte("early"))))
	p.node = "n1"
	p.publish(handover("n2", p.next), nil)
	p.node = "n2"
	seq := p.publish(control(bus.ControlAlive, p.next), nil)
	within(t, 30*time.Second, "handover in the log", func() bool {
		m, err := r.conn.JetStream().Stream(t.Context(), bus.StreamUploads)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.GetLastMsgForSubject(t.Context(), bus.CheckpointSubject(0, "early"))
		if err != nil {
			return false
		}
		var st bus.SessionState
		r.decode([]byte(c.Header.Get(bus.HeaderState)), &st)
		return st.StreamSeq == seq && st.Node == "n2"
	})
	n.kill()
	bad.Store(false)
	r.start()
	holder.end()
	holder.verify()
	p.publish(control(bus.ControlEnd, 1), nil)
	if res := r.finished("early"); len(res.recs) == 0 || len(r.lates("early")) != 1 {
		t.Errorf("%d events, kept %v", len(res.recs), r.lates("early"))
	}
}
