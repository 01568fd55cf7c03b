package bus_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestStandingSaysHowFarASessionHasCome(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	logged := func(sid string, st bus.SessionState) {
		t.Helper()
		st.V = bus.LogVersion
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, bus.LogSubject(0, sid), nats.Header{bus.HeaderState: {string(b)}}, nil)
	}
	for _, sid := range []string{"open", "ended", "abandoned"} {
		st := open(t, p, "node", sid)
		appendEvents(t, st, 0, 3)
		flush(t, st)
		if sid == "ended" {
			if err := st.End(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	logged("abandoned", bus.SessionState{Node: "node", Next: 3, Ended: true})
	logged("trimmed", bus.SessionState{Node: "node", Next: 9})
	before := s.state(t, 0).LastSeq
	for sid, want := range map[string]bus.Standing{
		"open": {Next: 3}, "ended": {Next: 3, Over: true}, "abandoned": {Next: 3, Over: true}, "trimmed": {Next: 9},
	} {
		if got, err := p.Standing(t.Context(), "node", sid); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", sid, got, err, want)
		}
	}
	if _, err := p.Standing(t.Context(), "node", "never"); !errors.Is(err, bus.ErrNoSession) {
		t.Errorf("a session that never was: %v", err)
	}
	if s.state(t, 0).LastSeq != before {
		t.Error("looking published something")
	}
}

func TestUnstoredIsWhatTheBusHasNotAcknowledged(t *testing.T) {
	s, _ := restartable(t)
	p := s.publisher(t, connect(t, s.srv.URL()), bus.PublisherOptions{})
	st := open(t, p, "node", "sid")
	st.SetNote(func() string { return "before" })
	unstored := func() (first int64, got []int64) {
		t.Helper()
		first, note, err := st.Unstored(func(index int64, _ []byte) error { got = append(got, index); return nil })
		if err != nil || note != "before" {
			t.Fatalf("note %q, %v", note, err)
		}
		return first, got
	}
	appendEvents(t, st, 0, 5)
	flush(t, st)
	if first, got := unstored(); first != 5 || len(got) != 0 {
		t.Errorf("all is stored: %d, %v", first, got)
	}
	s.srv.Shutdown()
	appendEvents(t, st, 5, 9)
	first, got := unstored()
	if first != 5 {
		t.Errorf("begins at %d", first)
	}
	mustRun(t, got, 5, 9)

	given := errors.New("given up")
	st.Abort(given)
	select {
	case <-st.Done():
	case <-time.After(time.Second):
		t.Error("Done is open")
	}
	if !errors.Is(st.Err(), given) || !errors.Is(st.Append(t.Context(), event(t, 9, 10), 9), given) {
		t.Errorf("after it was given up: %v", st.Err())
	}
	told := make(chan struct{})
	st.AfterDone(func() { close(told) })
	<-told
}
