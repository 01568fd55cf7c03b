package recorder_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// A resumed session is one recording with what came before, whatever the bus
// had last of it and however the first process ended.
func TestAResumedSessionGoesOnWhereTheBusHasIt(t *testing.T) {
	ctx := context.Background()
	bob := recorder.Participant{User: "bob"}
	tests := []struct {
		name   string
		before func(s *recorder.Session) error // the last thing flushed before the first process ends
		types  []string                        // of what it did
		text   string
	}{
		{"after the start alone", func(*recorder.Session) error { return nil }, nil, ""},
		{"after a print", func(s *recorder.Session) error {
			_, err := s.Write([]byte("one, two"))
			return err
		}, []string{"print"}, "one, two"},
		{"after half a UTF-8 sequence", func(s *recorder.Session) error {
			_, err := s.Write([]byte("caf\xc3"))
			return err
		}, []string{"print", "print"}, "caf\xc3"},
		{"after an event that is no print", func(s *recorder.Session) error {
			if _, err := s.Write([]byte("one")); err != nil {
				return err
			}
			if err := s.Flush(ctx); err != nil {
				return err
			}
			return errors.Join(s.Join(ctx, bob), s.Flush(ctx), s.Resize(ctx, 90, 30))
		}, []string{"print", "session.join", "resize"}, "one"},
		{"after it had been idle", func(s *recorder.Session) error {
			_, err := s.Write([]byte("one"))
			err = errors.Join(err, s.Join(ctx, bob), s.Flush(ctx))
			time.Sleep(500 * time.Millisecond)
			return err
		}, []string{"print", "session.join"}, "one"},
	}
	for _, crash := range []bool{false, true} {
		for _, tt := range tests {
			name := tt.name
			if crash {
				name += ", crashed"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				site := newSite(t)
				first := *site
				first.conn = first.connect(t)
				opts := recorder.Options{Alive: 200 * time.Millisecond}
				s := start(t, first.recorder(t, opts), recorder.Spec{User: "joe", Width: 80, Height: 24})
				if err := tt.before(s); err != nil {
					t.Fatal(err)
				}
				if crash {
					if err := s.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					first.conn.Close()
				} else if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)

				s, err := site.recorder(t, opts).Resume(t.Context(), recorder.Spec{ID: s.ID(), User: "joe", Width: 80, Height: 24})
				if err != nil {
					t.Fatal(err)
				}
				if want := int64(1 + len(tt.types)); s.Next() != want {
					t.Fatalf("resumed at %d, want %d", s.Next(), want)
				}
				if err := s.Close(t.Context()); err != nil { // and once more, with nothing said in between
					t.Fatal(err)
				}
				if s, err = site.recorder(t, opts).Resume(t.Context(), recorder.Spec{ID: s.ID(), User: "joe", Width: 80, Height: 24}); err != nil {
					t.Fatal(err)
				}
				write(t, s, "three")
				if err := s.End(t.Context()); err != nil {
					t.Fatal(err)
				}
				tp := site.read(t, s.ID())
				want := append(append([]string{"session.start"}, tt.types...), "print", "session.end")
				if !slices.Equal(tp.types, want) || string(tp.text) != tt.text+"three" {
					t.Fatalf("the bus has %v and %q", tp.types, tp.text)
				}
				end := tp.events[len(tp.events)-1].(*events.SessionEnd)
				if !end.StartTime.AsTime().Equal(tp.events[0].GetMetadata().Time.AsTime()) {
					t.Errorf("session.end says that it began at %s", end.StartTime.AsTime())
				}
				who := []string{"joe"}
				if slices.Contains(tt.types, "session.join") {
					who = append(who, "bob")
				}
				if !slices.Equal(end.Participants, who) {
					t.Errorf("session.end has participants %v", end.Participants)
				}
				checkDelay(t, tp)
			})
		}
	}
}

// checkDelay: the last print's delay agrees with the events' times.
func checkDelay(t *testing.T, tp tape) {
	t.Helper()
	var prints []*events.SessionPrint
	for _, e := range tp.events {
		if p, ok := e.(*events.SessionPrint); ok {
			prints = append(prints, p)
		}
	}
	first, last := prints[0], prints[len(prints)-1]
	delay := time.Duration(last.DelayMilliseconds) * time.Millisecond
	if passed := last.Metadata.Time.AsTime().Sub(first.Metadata.Time.AsTime()); (passed - delay).Abs() > 5*time.Millisecond {
		t.Errorf("delay %s after %s", delay, passed)
	}
}

func TestResumeRefusesWhatCannotGoOn(t *testing.T) {
	site := newSite(t)
	r := site.recorder(t, recorder.Options{})
	if _, err := r.Resume(t.Context(), recorder.Spec{ID: "unheard-of"}); !errors.Is(err, recorder.ErrNotFound) {
		t.Errorf("a session that never was: %v", err)
	}
	s := start(t, r, recorder.Spec{})
	if _, err := r.Resume(t.Context(), recorder.Spec{ID: s.ID()}); err == nil {
		t.Error("a session that is open here was resumed")
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resume(t.Context(), recorder.Spec{ID: s.ID()}); !errors.Is(err, bus.ErrEnded) {
		t.Errorf("a session that is over: %v", err)
	}
	if r.Sessions() != 0 {
		t.Errorf("%d sessions are open", r.Sessions())
	}
}

func TestASessionWhoseProcessDiedBeforeTheEndMessageCanBeEnded(t *testing.T) {
	site := newSite(t)
	r := site.recorder(t, recorder.Options{})
	s := start(t, r, recorder.Spec{User: "joe"})
	if err := s.Emit(t.Context(), &events.SessionEnd{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := r.Resume(t.Context(), recorder.Spec{ID: s.ID(), User: "joe"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	tp := site.read(t, s.ID())
	if !slices.Equal(tp.types, []string{"session.start", "session.end"}) ||
		!slices.Equal(tp.controlled(), []bus.Control{bus.ControlAlive, bus.ControlEnd}) {
		t.Errorf("the bus has %v and %v", tp.types, tp.controlled())
	}
}
