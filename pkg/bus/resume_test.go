package bus_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestResumeAfterACrashGoesOnWhereTheBusIs(t *testing.T) {
	s := newSite(t, small(1))
	first := s.publisher(t, s.conn, bus.PublisherOptions{})
	a := open(t, first, "node", "sid")
	appendEvents(t, a, 0, 500)
	eventually(t, "something is stored", func() bool { return a.Stored() > 0 })
	first.Close() // not flushed: as many are stored as happen to be
	b, next, err := s.publisher(t, s.conn, bus.PublisherOptions{}).Resume(t.Context(), "node", "sid")
	if err != nil {
		t.Fatal(err)
	}
	if next != b.Next() || next < 0 || next > 500 {
		t.Fatalf("next %d and %d", next, b.Next())
	}
	appendEvents(t, b, next, 600)
	flush(t, b)
	s.mustHold(t, "sid", 0, 600)
}

func TestResumedSessionTakesItFromAWriterThatStillRuns(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	a := open(t, p, "node", "sid")
	appendEvents(t, a, 0, 5)
	flush(t, a)
	b, next, err := p.Resume(t.Context(), "node", "sid")
	if err != nil || next != 5 {
		t.Fatal(next, err)
	}
	appendEvents(t, b, 5, 10)
	flush(t, b)
	appendEvents(t, a, 5, 6)
	if err := a.Flush(t.Context()); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("the writer of before: %v", err)
	}
	s.mustHold(t, "sid", 0, 10)
}

func TestResumeLearnsTheNextIndex(t *testing.T) {
	state := func(st bus.SessionState) []byte {
		st.V = bus.LogVersion
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	control := func(c bus.Control, count, to string) nats.Header {
		return nats.Header{bus.HeaderControl: {string(c)}, bus.HeaderCount: {count}, bus.HeaderTo: {to}}
	}
	two := slicefmt.AppendFrame(slicefmt.AppendFrame(nil, event(t, 6, 10)), event(t, 7, 10))
	tests := []struct {
		name   string
		header nats.Header // of the session's last message; with no body and no header there is none
		body   []byte
		log    []byte // state in the upload log
		ckpt   []byte // state in a later checkpoint
		next   int64
		err    error
	}{
		{name: "nothing at all", err: bus.ErrNoSession},
		{name: "bare record", body: event(t, 6, 10), next: 7},
		{name: "framed records", body: two, next: 8},
		{name: "torn frame", body: two[:len(two)-1], err: bus.ErrPayload},
		{name: "no record", body: []byte("what"), err: bus.ErrPayload},
		{name: "alive", header: control(bus.ControlAlive, "9", ""), next: 9},
		{name: "end", header: control(bus.ControlEnd, "9", ""), err: bus.ErrEnded},
		{name: "handed over", header: control(bus.ControlHandover, "9", "other"), err: bus.ErrEnded},
		{name: "newer version", header: nats.Header{bus.HeaderVersion: {"2"}}, body: two, err: bus.ErrVersion},
		{name: "trimmed", log: state(bus.SessionState{Node: "node", Next: 12}), next: 12},
		{name: "trimmed, checkpoint is newer", log: state(bus.SessionState{Node: "node", Next: 12}), ckpt: state(bus.SessionState{Node: "node", Next: 15}), next: 15},
		{name: "log knows of less", body: two, log: state(bus.SessionState{Node: "node", Next: 5}), next: 8},
		{name: "log knows of more", body: two, log: state(bus.SessionState{Node: "node", Next: 20}), next: 20},
		{name: "abandoned since", body: two, log: state(bus.SessionState{Node: "node", Next: 8, Ended: true}), err: bus.ErrEnded},
		{name: "another node's", log: state(bus.SessionState{Node: "other", Next: 5}), err: bus.ErrConflict},
		{name: "handed over to us", log: state(bus.SessionState{Node: "other", NextNode: "node", Next: 5}), next: 5},
		{name: "handed over to another", log: state(bus.SessionState{Node: "node", NextNode: "third", Next: 5}), err: bus.ErrEnded},
		{name: "log of a newer version", log: []byte(`{"v":99,"next":"?"}`), err: bus.ErrVersion},
	}
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sid := "s" + string(rune('a'+i))
			s.put(t, bus.EventSubject(0, "node", sid), tt.header, tt.body)
			if tt.log != nil {
				s.put(t, bus.LogSubject(0, sid), nats.Header{bus.HeaderState: {string(tt.log)}}, nil)
			}
			if tt.ckpt != nil {
				s.put(t, bus.CheckpointSubject(0, sid), nats.Header{bus.HeaderState: {string(tt.ckpt)}}, nil)
			}
			st, next, err := p.Resume(t.Context(), "node", sid)
			if !errors.Is(err, tt.err) || next != tt.next {
				t.Fatalf("next %d, %v; want %d, %v", next, err, tt.next, tt.err)
			}
			if err != nil {
				return
			}
			appendEvents(t, st, next, next+3)
			flush(t, st)
			got := s.indexes(t, sid)
			mustRun(t, got[len(got)-3:], next, next+3)
		})
	}
}

func (s *site) put(t testing.TB, subject string, h nats.Header, body []byte) {
	t.Helper()
	if h == nil && body == nil {
		return
	}
	if _, err := s.conn.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: h, Data: body}); err != nil {
		t.Fatal(err)
	}
}
