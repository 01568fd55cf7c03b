package bus_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A service that starts while a stream has no leader waits for it; one that was not
// told to wait, or that waits for what is not installed, does not.
func TestInspectWaitsForStreamsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, small(2))
	px := newProxy(t, s.srv.URL())
	c := connectAs(t, bus.Options{URL: []string{px.url()}, Wait: time.Minute})
	px.set(func() { px.loseSent = true })
	done := make(chan error, 1)
	go func() {
		_, err := bus.Inspect(t.Context(), c)
		done <- err
	}()
	eventually(t, "a request is lost", func() (lost bool) {
		px.set(func() { lost = px.lost > 0 })
		return lost
	})
	px.set(func() { px.loseSent = false })
	px.cut() // what was lost is a subscription, too: the client makes it anew
	if err := <-done; err != nil {
		t.Errorf("after the stream came back: %v", err)
	}
	begin := time.Now()
	if _, err := bus.Inspect(t.Context(), connectAs(t, bus.Options{URL: []string{embedtest.NATS(t)}, Wait: time.Minute})); !errors.Is(err, bus.ErrNotInstalled) {
		t.Errorf("where nothing is installed: %v", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("that took %s", took)
	}
}
