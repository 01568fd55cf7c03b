package bus_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A producer that comes back after a long silence is told when its session has
// been abandoned, and stores nothing more.
func TestAProducerLearnsThatItsSilentSessionWasAbandoned(t *testing.T) {
	const silence = 50 * time.Millisecond
	tests := []struct {
		name string
		log  *bus.SessionState // what the upload log says by then
		gone bool              // the session's messages are trimmed
		err  error
	}{
		{"still open", &bus.SessionState{Node: "node", Next: 3}, false, nil},
		{"still open, and trimmed", &bus.SessionState{Node: "node", Next: 3}, true, nil},
		{"not yet seen by a slicer", nil, false, nil},
		{"abandoned", &bus.SessionState{Node: "node", Next: 3, Ended: true}, false, bus.ErrEnded},
		{"abandoned, and trimmed", &bus.SessionState{Node: "node", Next: 3, Ended: true}, true, bus.ErrEnded},
		{"abandoned, trimmed and forgotten", nil, true, bus.ErrEnded},
		{"handed over", &bus.SessionState{Node: "node", NextNode: "other", Next: 3}, false, bus.ErrEnded},
		{"another node's", &bus.SessionState{Node: "other", Next: 3}, false, bus.ErrConflict},
	}
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{MaxSilence: silence})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sid := "s" + string(rune('a'+i))
			st := open(t, p, "node", sid)
			appendEvents(t, st, 0, 3)
			flush(t, st)
			if tt.log != nil {
				tt.log.V = bus.LogVersion
				b, err := json.Marshal(tt.log)
				if err != nil {
					t.Fatal(err)
				}
				s.put(t, bus.LogSubject(0, sid), nats.Header{bus.HeaderState: {string(b)}}, nil)
			}
			if tt.gone {
				if err := s.stream(t, 0).Purge(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			before := s.state(t, 0).LastSeq
			time.Sleep(2 * silence)
			appendEvents(t, st, 3, 4)
			err := st.Flush(t.Context())
			if !errors.Is(err, tt.err) {
				t.Fatalf("after the silence: %v, want %v", err, tt.err)
			}
			if stored := s.state(t, 0).LastSeq > before; stored != (tt.err == nil) {
				t.Errorf("the event was stored: %t", stored)
			}
			if tt.err == nil {
				return
			}
			select {
			case <-st.Done():
			default:
				t.Error("Done is open")
			}
		})
	}
}
