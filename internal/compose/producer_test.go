package compose

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// Many sessions on one connection, whose small messages travel together; each is told
// how far S3 has it, and none runs into a permission.
func TestAProducersUserIsEnoughForABusyNode(t *testing.T) {
	s := newSite(t)
	s.slicer(t, "first")
	s.completer(t)
	conn := s.as(t, "producer-demo")
	layout, err := bus.Inspect(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var sids []string
	for range 12 {
		sid := uuid.NewString()
		sids = append(sids, sid)
		wg.Go(func() {
			if err := busySession(t, conn, rec, sid); err != nil {
				t.Errorf("session %s: %v", sid, err)
			}
		})
	}
	wg.Wait()
	lib := &recording.Library{Store: s.store, Conn: s.as(t, "viewer"), Layout: s.layout}
	for _, sid := range sids {
		s.finished(t, lib, sid)
	}
	if said := s.denied.take(); len(said) > 0 {
		t.Errorf("denied to those who must:\n%s", strings.Join(said, "\n"))
	}
}

func busySession(t *testing.T, conn *bus.Conn, rec *recorder.Recorder, sid string) error {
	whole := make(chan struct{}, 1)
	stop, err := bus.WatchStatus(conn, "demo", sid, func(st *events.StreamStatus) {
		if st.GetUploadId() != "" && st.GetLastEventIndex() == 101 { // start, 100 lines, end
			select {
			case whole <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	ses, err := rec.Start(t.Context(), recorder.Spec{ID: sid, User: "joe", Login: "root", Width: 80, Height: 24})
	if err != nil {
		return err
	}
	for i := range 100 {
		if _, err := fmt.Fprintf(ses, "line %d\r\n", i); err != nil {
			return err
		}
	}
	if err := ses.End(t.Context()); err != nil {
		return err
	}
	select {
	case <-whole:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("nobody said within 30 s that S3 has it")
	}
}
