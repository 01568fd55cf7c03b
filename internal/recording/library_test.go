package recording

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestLibraryKnowsEverySession(t *testing.T) {
	s := newSite(t)
	now := time.Now().UTC().Truncate(time.Second)
	for _, sid := range []string{"done1", "done2"} {
		put(t, s.store, sid, 0, lines(t, 10))
	}
	object(t, s.store, "done1.rebuilt-20260101T000000Z"+manifestSuffix, nil)
	// done2 is still on the bus and in the log.
	end(t, s.publish(t, "done2", lines(t, 10)))
	s.log(t, "done2", bus.KindEnded, bus.SessionState{Ended: true})
	s.log(t, "done2", bus.KindNotified, bus.SessionState{Ended: true})
	// done1's log is gone before its events.
	s.publish(t, "done1", lines(t, 10))
	s.publish(t, "new", lines(t, 3))
	s.publish(t, "busy", lines(t, 9))
	s.log(t, "busy", bus.KindBase, bus.SessionState{Node: "node1", Events: 4, Seen: now.Add(-time.Minute)})
	s.log(t, "busy", bus.KindCheckpoint, bus.SessionState{Node: "node1", Events: 9, Late: 2, Seen: now, Upload: &bus.UploadState{Parts: 1, Bytes: 77}})
	s.log(t, "over", bus.KindEnded, bus.SessionState{Ended: true, Seen: now.Add(-time.Hour)})
	s.log(t, "bad", bus.KindLost, bus.SessionState{Ended: true, Seen: now.Add(-2 * time.Hour)})

	want := map[string]Status{"done1": Finished, "done2": Finished, "new": Live, "busy": Live, "over": Ending, "bad": Lost}
	got := map[string]Status{}
	var order []string
	for i, err := range s.List(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[i.Session]; twice {
			t.Fatalf("%s is listed twice", i.Session)
		}
		got[i.Session] = i.Status
		order = append(order, i.Session)
		if i.Session == "busy" && (i.Events != 9 || i.Late != 2 || i.Parts != 1 || i.Bytes != 77 || i.Node != "node1" || !i.Seen.Equal(now)) {
			t.Fatalf("busy is %+v", i)
		}
		if i.Session == "new" && (i.Node != "node1" || i.Metadata.User != "joe" || i.Started.IsZero() || i.Seen.Before(now.Add(-time.Minute))) {
			t.Fatalf("new is %+v", i)
		}
		if i.Session == "done1" && (i.Events != 10 || i.Metadata.User != "joe" || !i.Started.Equal(at(0)) || !i.Seen.Equal(at(9))) {
			t.Fatalf("done1 is %+v", i)
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("sessions %v, want %v", got, want)
	}
	if !slices.Equal(order[2:], []string{"over", "bad", "done1", "done2"}) {
		t.Fatalf("in the order %v", order)
	}
	for sid, status := range want {
		if i, err := s.Find(t.Context(), sid); err != nil || i.Status != status || i.Session != sid {
			t.Errorf("found %s as %+v, %v", sid, i, err)
		}
	}
	if _, err := s.Find(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session that nobody knows: %v", err)
	}
	if _, err := s.Open(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session that nobody knows was opened: %v", err)
	}
	for filter, want := range map[Filter][]string{
		{Status: Finished}:                       {"done1", "done2"},
		{Status: Lost}:                           {"bad"},
		{User: "joe"}:                            {"new", "busy", "done1", "done2"},
		{User: "amy"}:                            nil,
		{Status: Ending, Since: now}:             nil,
		{Status: Ending, Since: at(0)}:           {"over"},
		{Status: Finished, Since: now.Add(1e15)}: nil,
	} {
		var got []string
		for i, err := range s.List(t.Context(), filter) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, i.Session)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v gives %v, want %v", filter, got, want)
		}
	}
}

func TestLibraryWithoutBusOrStore(t *testing.T) {
	s := newSite(t)
	put(t, s.store, "done", 0, lines(t, 10))
	s.publish(t, "live", lines(t, 3))
	count := func(l *Library) (n int) {
		for _, err := range l.List(t.Context(), Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	storeOnly, busOnly := &Library{Store: s.store}, &Library{Conn: s.Conn, Layout: s.Layout}
	if count(s.Library) != 2 || count(storeOnly) != 1 || count(busOnly) != 1 {
		t.Fatalf("%d, %d and %d sessions", count(s.Library), count(storeOnly), count(busOnly))
	}
	if _, err := storeOnly.Open(t.Context(), "live"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := storeOnly.FromBus(t.Context(), "live"); !errors.Is(err, ErrNotOnBus) {
		t.Fatal(err)
	}
}

func TestLibraryOfManySessionsListsAll(t *testing.T) {
	s := newSite(t)
	want := 3*atOnce + 1
	m := &slicefmt.Manifest{Outcome: slicefmt.OutcomeComplete, Created: epoch}
	for i := range want {
		m.Session = "s" + string(rune('A'+i))
		putManifest(t, s.store, m.Session, m)
	}
	object(t, s.store, "broken"+manifestSuffix, []byte("{"))
	n := 0
	for i, err := range s.List(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if i.Session == "broken" && i.Status != Finished {
			t.Fatalf("%+v", i)
		}
		n++
	}
	if n != want+1 {
		t.Fatalf("%d sessions, want %d", n, want+1)
	}
}

func TestLateMessagesAreListed(t *testing.T) {
	s := newSite(t)
	put(t, s.store, "s1", 0, lines(t, 3))
	put(t, s.store, "s1-b", 0, lines(t, 3))
	object(t, s.store, "s1.late/0-00000000000000000007-1.json", []byte("{}"))
	object(t, s.store, "s1.late/0-00000000000000000005-1.json", []byte("{}"))
	object(t, s.store, "s1-b.late/0-00000000000000000001-1.json", []byte("{}"))
	n, err := s.CountLate(t.Context(), "s1")
	if err != nil || n != 2 {
		t.Fatalf("%d late messages, %v", n, err)
	}
	for l, err := range s.Late(t.Context(), "s1") {
		if err != nil || l.Key != s.store.Key("s1.late/0-00000000000000000005-1.json") || l.Size != 2 {
			t.Fatalf("first is %+v, %v", l, err)
		}
		break
	}
}
