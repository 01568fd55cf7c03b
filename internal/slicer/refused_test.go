package slicer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Each row sends something that cannot be recorded in the middle of a session. The
// session and its neighbour must finish whole, and the message must be kept.
func TestWhatCannotBeRecordedIsKept(t *testing.T) {
	frame := func(p *producer, index int64) []byte {
		return slicefmt.AppendFrame(nil, p.event(index, []byte("late")))
	}
	tests := []struct {
		name string
		send func(p *producer)
		want []string
		dups int64
	}{
		{"nothing", func(*producer) {}, nil, 0},
		{"an index used before with other bytes", func(p *producer) { p.publish(nil, frame(p, 3)) }, []string{lateIndex}, 0},
		{"an index used long before", func(p *producer) {
			p.prints(100, 10)
			p.publish(nil, slicefmt.AppendFrame(nil, p.sent[2]))
		}, []string{lateIndex}, 0},
		{"a duplicate", func(p *producer) { p.publish(nil, slicefmt.AppendFrame(nil, p.sent[4])) }, nil, 1},
		{"another node", func(p *producer) {
			r := p.r
			r.publish(bus.EventSubject(bus.Partition(p.sid, r.layout.Partitions), "n2", p.sid), nil, frame(p, p.next))
		}, []string{lateNode}, 0},
		{"another partition", func(p *producer) {
			r := p.r
			r.publish(bus.EventSubject(1-bus.Partition(p.sid, 2), p.node, p.sid), nil, frame(p, p.next))
		}, []string{latePartition}, 0},
		{"bytes that are no event", func(p *producer) { p.publish(nil, []byte("hello")) }, []string{latePayload}, 0},
		{"no bytes", func(p *producer) { p.publish(nil, nil) }, []string{latePayload}, 0},
		{"a torn frame after a good one", func(p *producer) {
			b := p.frame(50)
			torn := frame(p, p.next)
			p.publish(nil, append(b, torn[:len(torn)-3]...))
		}, []string{latePayload}, 0},
		{"an event of 65,537 bytes", func(p *producer) {
			e := p.event(p.next, p.noise(65_600))
			p.publish(nil, e[:slicefmt.MaxRecord+1])
		}, []string{latePayload}, 0},
		{"an unknown control", func(p *producer) { p.publish(control("dance", p.next), nil) }, []string{lateControl}, 0},
		{"a newer message version", func(p *producer) {
			p.publish(nats.Header{bus.HeaderVersion: {"9"}}, frame(p, p.next))
		}, []string{lateVersion}, 0},
		{"a writer's name that fits into no record", func(p *producer) {
			p.publish(nats.Header{bus.HeaderWriter: {strings.Repeat("<", 40<<10)}}, frame(p, p.next))
		}, []string{latePayload}, 0},
		{"a negative index", func(p *producer) { p.publish(nil, frame(p, -1)) }, []string{lateRange}, 0},
		{"a reserved index", func(p *producer) { p.publish(nil, frame(p, 2147483647)) }, []string{lateRange}, 0},
	}
	r := newRig(t, 2)
	r.start()
	var ps []*producer
	for i, tt := range tests {
		p := r.session("row-" + string(rune('a'+i)))
		p.prints(10, 100)
		tt.send(p)
		p.prints(10, 100)
		p.end()
		ps = append(ps, p)
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := ps[i].verify()
			if got := r.lates(ps[i].sid); !slices.Equal(got, tt.want) {
				t.Errorf("kept %v, want %v", got, tt.want)
			}
			if res.state.Duplicates != tt.dups {
				t.Errorf("%d duplicates", res.state.Duplicates)
			}
			if res.end.Outcome != bus.OutcomeComplete {
				t.Errorf("outcome %q", res.end.Outcome)
			}
		})
	}
	for p := range 2 {
		within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(p) == r.lastSeq(p) })
	}
}

func TestAfterTheEndIsLate(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("over")
	p.prints(3, 100)
	p.end()
	p.verify()
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(3, nil)))
	within(t, 30*time.Second, "late message kept", func() bool { return len(r.lates("over")) == 1 })
	n.kill()
	r.start()
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(4, nil)))
	within(t, 30*time.Second, "late message kept by the next owner", func() bool { return len(r.lates("over")) == 2 })
}

// A session is remembered for as long as its events are on the bus. What comes after
// that must not begin a second upload, whose key is taken.
func TestLongAfterTheEndIsLate(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("over")
	p.prints(3, 100)
	p.end()
	p.verify()
	k, err := newPartition(t.Context(), n.shared, 0, nil).lookUp(t.Context(), "over")
	if err != nil || k == nil || k.taken != r.lastSeq(0) || k.next != 3 {
		t.Errorf("by its log the session is over: %v, %v", k, err)
	}
	n.leave()
	// Its log goes by its time to live; the manifest stays.
	if err := r.store.Put(t.Context(), r.store.Key("over.manifest.json"), []byte("{}"), false); err != nil {
		t.Fatal(err)
	}
	r.purge(bus.LogSubject(0, "over"))
	r.start()
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(3, nil)))
	p.end()
	within(t, 30*time.Second, "both messages kept", func() bool { return len(r.lates("over")) == 2 })
	within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(0) == r.lastSeq(0) })
	if log := r.entries("over"); log != nil {
		t.Errorf("a second log was begun with %q", log[0].Kind)
	}
	// One that begins anywhere else, and was not recorded before, is opened.
	other := r.session("other")
	other.next = 5
	other.prints(2, 100)
	other.end()
	if res := other.verify(); res.state.Missing != 5 {
		t.Errorf("%d events are said to be missing, want 5", res.state.Missing)
	}
}

// One session that cannot be finished holds the cursor. Days later, when the logs of
// the sessions after it are gone, the next owner reads all of it again, and must not
// begin recordings that are there.
func TestWhatIsReadAgainAfterDaysIsNotRecordedAgain(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("over")
	p.prints(3, 100)
	p.end()
	res := p.verify()
	n.leave()
	m := slicefmt.Manifest{Session: p.sid, Key: res.state.Upload.Key, Outcome: slicefmt.OutcomeComplete, Events: 3, Count: 3, Created: time.Now().UTC(),
		Bytes: res.parts[0].Bytes, RawBytes: res.parts[0].RawBytes, Parts: []slicefmt.ManifestPart{{
			Number: 1, Bytes: res.parts[0].Bytes, RawBytes: res.parts[0].RawBytes, Records: 3, LastIndex: 2, LastTime: res.parts[0].LastTime, SHA256: res.parts[0].SHA256}}}
	body, err := m.Marshal()
	if err == nil {
		err = r.store.Put(t.Context(), r.store.Key(p.sid+".manifest.json"), body, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.purge(bus.LogSubject(0, p.sid))
	r.purge(bus.CursorSubject(0))
	r.cfg.KeepTime = 0 // all that is there is older
	r.start()
	within(t, 30*time.Second, "cursor at the end", func() bool { return r.cursor(0) == r.lastSeq(0) })
	if log := r.entries(p.sid); log != nil {
		t.Errorf("a second log was begun with %q", log[0].Kind)
	}
	if got := r.lates(p.sid); len(got) != 0 {
		t.Errorf("%d messages of the recording were kept as late", len(got))
	}
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(3, nil)))
	within(t, 30*time.Second, "a late event kept", func() bool { return len(r.lates(p.sid)) == 1 })
}

func TestWhatWasTakenBeforeTheEnd(t *testing.T) {
	r := &rig{t: t}
	p := r.session("s")
	end := time.Unix(1000, 0)
	message := func(seq uint64, at time.Time, index int64) *input {
		m := &input{Message: bus.Message{Seq: seq, Time: at}}
		if index < 0 {
			m.Control = bus.ControlAlive
		} else {
			m.Payload = slicefmt.AppendFrame(nil, p.event(index, nil))
		}
		return m
	}
	log, manifest := past{taken: 10, next: 5}, past{until: end, next: 5}
	for _, tt := range []struct {
		what string
		past past
		m    *input
		want bool
	}{
		{"up to the log's newest message", log, message(10, end, 4), true},
		{"in its place, in another stream", log, message(10, end, 5), false},
		{"after it", log, message(11, end, 0), false},
		{"a control message up to it", log, message(10, end, -1), true},
		{"a control message after it", log, message(11, end, -1), false},
		{"of the recording", manifest, message(11, end, 4), true},
		{"an event that it has not", manifest, message(11, end, 5), false},
		{"an event that came afterwards", manifest, message(11, end.Add(1), 0), false},
		{"its end", manifest, message(11, end.Add(time.Second), -1), true},
		{"an end that came long afterwards", manifest, message(11, end.Add(2*time.Minute), -1), false},
		{"nothing is known but that it is over", past{}, message(11, end, 0), false},
	} {
		if got := tt.past.has(tt.m); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.what, got, tt.want)
		}
	}
}

// A session whose log is found to be a newer version's only when it is looked up is
// left alone like the others, and holds the cursor.
func TestNewerLogFoundLateIsLeftAlone(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	within(t, 30*time.Second, "a lease", func() bool { return n.claims.get(0) != nil })
	st := fmt.Sprintf(`{"v":%d,"sid":"newer","p":0}`, bus.LogVersion+1)
	r.publish(bus.LogSubject(0, "newer"), map[string][]string{bus.HeaderKind: {bus.KindBase}, bus.HeaderState: {st}}, nil)
	p, other := r.session("newer"), r.session("ours")
	p.next = 1
	first := p.publish(nil, p.frame(100))
	other.prints(3, 100)
	other.end()
	other.verify()
	within(t, 30*time.Second, "cursor before the session's first message", func() bool { return r.cursor(0) == first-1 })
	if log, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "newer"); !errors.Is(err, uploadlog.ErrNewer) {
		t.Errorf("the newest record is %+v, %v", log, err)
	}
}

func TestGapsAreLoggedAndRecorded(t *testing.T) {
	r := newRig(t, 1)
	r.start()
	p := r.session("gap")
	p.prints(3, 100)
	p.next += 5
	p.prints(3, 100)
	p.publish(control(bus.ControlEnd, p.next+2), nil)
	p.next += 2
	res := p.verify()
	if want := []bus.Gap{{From: 3, To: 8}, {From: 11, To: 13}}; !slices.Equal(res.state.Gaps, want) || res.state.Missing != 7 || res.end.Outcome != bus.OutcomeGapped {
		t.Errorf("gaps %v, %d missing, %s", res.state.Gaps, res.state.Missing, res.end.Outcome)
	}
	if want := []bus.Gap{{From: 3, To: 8}}; !slices.Equal(res.end.Part.Gaps, want) {
		t.Errorf("gaps of the part: %v", res.end.Part.Gaps)
	}
}

func TestHandover(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p := r.session("moves")
	p.prints(5, 100)
	h := control(bus.ControlHandover, p.next)
	h.Set(bus.HeaderTo, "n2")
	seq := p.publish(h, nil)
	within(t, 30*time.Second, "handover in the log", func() bool { return r.cursor(0) >= seq })
	n.kill()
	r.start()
	p.publish(nil, slicefmt.AppendFrame(nil, p.event(p.next, []byte("refused")))) // the first node's
	p.node = "n2"
	p.prints(5, 100)
	p.end()
	res := p.verify()
	if res.state.Node != "n2" || res.state.Late != 1 {
		t.Errorf("node %q, %d late", res.state.Node, res.state.Late)
	}
}

func TestSilentSessionsAreAbandoned(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.AbandonAfter = time.Second
	r.cfg.AbandonEnd = 200 * time.Millisecond
	silent, alive := r.session("silent"), r.session("alive")
	silent.prints(3, 100)
	time.Sleep(1500 * time.Millisecond) // a backlog is not silence: what follows is in the stream already
	silent.prints(3, 100)
	r.start()
	within(t, 30*time.Second, "end of the silent session", func() bool {
		alive.publish(control(bus.ControlAlive, 0), nil)
		l := r.entries("silent")
		return len(l) > 0 && l[len(l)-1].Kind == bus.KindEnded
	})
	if l := r.entries("alive"); len(l) != 0 {
		t.Errorf("a session that is alive has %q in its log", l[len(l)-1].Kind)
	}
	alive.prints(2, 10)
	alive.end()
	if res := silent.verify(); res.end.Outcome != bus.OutcomeAbandoned {
		t.Errorf("outcome %q", res.end.Outcome)
	}
	alive.verify()
}
