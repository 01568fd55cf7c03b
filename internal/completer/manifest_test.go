package completer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestAManifestIsTheSameBytesEachTime(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", big)
	c := r.completer()
	log, err := uploadlog.ReadLog(t.Context(), r.conn, 0, s.sid)
	if err != nil {
		t.Fatal(err)
	}
	var before string
	for range 2 {
		pl, err := newPlan(log)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := c.object(t.Context(), pl)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.putManifest(t.Context(), pl, obj); err != nil {
			t.Fatal(err)
		}
		now := string(r.object("s1.manifest.json"))
		if before != "" && now != before {
			t.Fatal("the second manifest differs")
		}
		before = now
	}
}

// What an event says of itself is the producer's to choose. None of it may keep a
// recording from being finished, or make its manifest larger than readers take.
func TestEventsThatSayStrangeThingsOfThemselves(t *testing.T) {
	typed := func(index int64, typ string) []byte {
		o, err := events.Wrap(&events.SessionPrint{Metadata: &events.Metadata{Index: index, Type: typ}, Data: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := newRig(t)
	s := r.prepare("s1", shape{})
	s.begin(r)
	var slice slicefmt.Slice
	add := func(oneof []byte) {
		s.oneofs = append(s.oneofs, oneof)
		if err := slice.Append(oneof); err != nil {
			t.Fatal(err)
		}
	}
	add(event(t, "s1", 0, false, 0, nil))
	for i := int64(1); i <= 3000; i++ {
		typ := fmt.Sprintf("type-%d", i)
		if i%100 == 0 {
			typ += strings.Repeat("-", 50_000)
		}
		add(typed(i, typ))
	}
	s.put(r, &slice, bus.PartRecord{Number: 1, Last: 3000})
	s.state.Next, s.state.Events = 3001, 3001
	s.ended = bus.EndedRecord{Outcome: bus.OutcomeComplete, Count: 3001, Events: 3001, At: at(1)}
	r.write(s)
	r.run(1)
	r.finished("s1")
	m := r.manifest("s1")
	var sum int64
	for typ, n := range m.Types {
		if sum += n; len(typ) > 64 {
			t.Errorf("a type of %d bytes", len(typ))
		}
	}
	if sum != 3001 || len(m.Types) > 1001 || m.Events != 3001 {
		t.Errorf("%d events of %d types are %d", m.Events, len(m.Types), sum)
	}
}
