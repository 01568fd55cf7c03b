package slicer

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestOneSessionOfSeveralParts(t *testing.T) {
	r := newRig(t, 1)
	r.start()
	p := r.session("big")
	p.prints(600, 40<<10)
	p.end()
	res := p.verify()
	if len(res.parts) < 4 || res.end.Outcome != bus.OutcomeComplete {
		t.Errorf("%d parts, outcome %q", len(res.parts), res.end.Outcome)
	}
}

func TestManyShortSessions(t *testing.T) {
	r := newRig(t, 2)
	r.start()
	var ps []*producer
	for i := range 200 {
		p := r.session(fmt.Sprintf("short-%d", i))
		p.prints(1+i%7, 300)
		p.end()
		ps = append(ps, p)
	}
	for _, p := range ps {
		if res := p.verify(); len(res.parts) != 1 {
			t.Errorf("%s: %d parts", p.sid, len(res.parts))
		}
	}
	for p := range 2 {
		within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(p) == r.lastSeq(p) })
	}
}

func TestIdleSessionIsOneSmallPart(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.IdleCheckpoint = 5 * time.Millisecond
	r.start()
	p := r.session("idle")
	for range 80 {
		seq := p.publish(nil, p.frame(10))
		within(t, 30*time.Second, "key durable", func() bool { return r.cursor(0) >= seq })
	}
	p.end()
	res := p.verify()
	if len(res.parts) != 1 || res.parts[0].Bytes > 64<<10 {
		t.Errorf("%d parts, the first of %d bytes", len(res.parts), res.parts[0].Bytes)
	}
}

func TestSessionWithoutEventsHasNoPart(t *testing.T) {
	r := newRig(t, 1)
	r.start()
	p := r.session("empty")
	p.end()
	res := p.verify()
	if res.state.Upload != nil || res.end.Part != nil || res.end.Count != 0 {
		t.Errorf("%+v", res)
	}
}
