package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestEnsureIsRepeatableAndInspectReadsItBack(t *testing.T) {
	s := newSite(t, small(3))
	if s.layout.Partitions != 3 || s.layout.Replicas != 1 || s.layout.NotifyMaxAge != bus.DefaultLayout.NotifyMaxAge {
		t.Errorf("ensured %+v", s.layout)
	}
	for _, l := range []bus.Layout{{}, {Partitions: 3}, small(3), s.layout} {
		got, err := bus.Ensure(t.Context(), s.conn, l)
		if err != nil || got != s.layout {
			t.Errorf("ensure %+v again: %+v, %v", l, got, err)
		}
	}
	if got, err := bus.Inspect(t.Context(), s.conn); err != nil || got != s.layout {
		t.Errorf("inspect: %+v, %v", got, err)
	}
	if s.layout.Total() != 3*(64<<20)+(16<<20)+3*(1<<20) {
		t.Errorf("total %d", s.layout.Total())
	}
}

func TestServicesThatStartTogetherEnsureTheSame(t *testing.T) {
	srv := newSite(t, bus.Layout{Partitions: 1}) // a server; its streams go first
	for _, name := range []string{bus.EventStream(0), bus.StreamUploads, bus.StreamAccess, bus.StreamAudit, bus.StreamNotify} {
		if err := srv.conn.JetStream().DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bus.Inspect(t.Context(), srv.conn); !errors.Is(err, bus.ErrNotInstalled) {
		t.Errorf("inspect where nothing is: %v", err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := bus.Ensure(t.Context(), srv.conn, small(2)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStreamThatDiffersIsNamed(t *testing.T) {
	s := newSite(t, small(2))
	js := s.conn.JetStream()
	tests := []struct {
		stream, field string
		change        func(*jetstream.StreamConfig)
	}{
		{"EVENTS-1", "max_bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 123456 }},
		{"EVENTS-0", "max_age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"EVENTS-0", "max_msgs", func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 }},
		{"EVENTS-1", "discard", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		{"EVENTS-1", "subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"tapedeck.events.1.>"} }},
		{"EVENTS-1", "allow_rollup_hdrs", func(c *jetstream.StreamConfig) { c.AllowRollup = true }},
		{"EVENTS-1", "partitions", func(c *jetstream.StreamConfig) { c.Metadata["tapedeck-partitions"] = "4" }},
		{"UPLOADS", "allow_direct", func(c *jetstream.StreamConfig) { c.AllowDirect = false }},
		{"NOTIFY", "partitions", func(c *jetstream.StreamConfig) { c.Metadata = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.stream+" "+tt.field, func(t *testing.T) {
			str, err := js.Stream(t.Context(), tt.stream)
			if err != nil {
				t.Fatal(err)
			}
			cfg := str.CachedInfo().Config
			was := cfg
			was.Metadata = map[string]string{}
			for k, v := range cfg.Metadata {
				was.Metadata[k] = v
			}
			tt.change(&cfg)
			if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			_, err = bus.Ensure(t.Context(), s.conn, small(2))
			var diff *bus.LayoutError
			if !errors.As(err, &diff) || !strings.Contains(err.Error(), fmt.Sprintf("stream %s: %s is", tt.stream, tt.field)) {
				t.Errorf("ensure: %v", err)
			}
			if _, err := bus.Inspect(t.Context(), s.conn); !errors.As(err, &diff) {
				t.Errorf("inspect: %v", err)
			}
			if tt.field == "allow_rollup_hdrs" { // cannot be taken back
				if err := js.DeleteStream(t.Context(), tt.stream); err != nil {
					t.Fatal(err)
				}
				_, err = js.CreateStream(t.Context(), was)
			} else {
				_, err = js.UpdateStream(t.Context(), was)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEveryDifferenceIsSaidAtOnceAndNothingIsChanged(t *testing.T) {
	s := newSite(t, small(2))
	other := small(4)
	other.Replicas, other.EventsMaxBytes, other.Storage = 3, 1<<20, jetstream.MemoryStorage
	_, err := bus.Ensure(t.Context(), s.conn, other)
	for _, want := range []string{
		`stream EVENTS-0: partitions is "2", want "4"`, `stream EVENTS-1: replicas is "1", want "3"`,
		`stream EVENTS-0: max_bytes is "67108864", want "1048576"`, `stream UPLOADS: storage is`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	if got, err := bus.Inspect(t.Context(), s.conn); err != nil || got != s.layout {
		t.Errorf("afterwards %+v, %v", got, err)
	}
}

func TestNewerLayoutIsLeftAlone(t *testing.T) {
	s := newSite(t, small(1))
	cfg := s.stream(t, 0).CachedInfo().Config
	cfg.Metadata["tapedeck-layout"] = "2"
	if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Ensure(t.Context(), s.conn, bus.Layout{}); !errors.Is(err, bus.ErrVersion) {
		t.Error(err)
	}
}

func TestLayoutThatCannotBeIsRefusedInFull(t *testing.T) {
	l := bus.Layout{Partitions: -1, Replicas: 2, EventsMaxBytes: -5, AuditMaxAge: time.Millisecond}
	err := l.Validate()
	for _, want := range []string{"partitions", "replicas", "events max bytes", "audit max age"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}
