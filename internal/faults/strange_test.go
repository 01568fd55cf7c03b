package faults

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A strange client publishes by hand what a Publisher would never send.
type strange struct {
	t    *testing.T
	b    *Bench
	s    Session
	node string
	p    int
}

func (c *strange) send(headers map[string]string, payload []byte) {
	c.t.Helper()
	m := nats.NewMsg(bus.EventSubject(c.p, c.node, c.s.ID))
	m.Data = payload
	for k, v := range headers {
		m.Header.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.b.r.conn.JetStream().PublishMsg(ctx, m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *strange) event(index int64) []byte {
	c.t.Helper()
	one, err := c.s.Event(index)
	if err != nil {
		c.t.Fatal(err)
	}
	return one
}

func (c *strange) end(count int64) {
	c.t.Helper()
	c.send(map[string]string{bus.HeaderControl: string(bus.ControlEnd), bus.HeaderCount: fmt.Sprint(count)}, nil)
}

func frame(one []byte) []byte { return slicefmt.AppendFrame(nil, one) }

// Whatever a producer does, its partition goes on, the session has the recording
// that its good events make, and the rest is kept beside it.
func TestNoProducerStopsAPartition(t *testing.T) {
	tests := []struct {
		name    string
		do      func(c *strange)
		events  int64 // in the recording
		missing int64
		kept    int // messages under .late
	}{
		{"late events after completion", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.end(1)
			c.await()
			c.send(nil, frame(c.event(1)))
		}, 1, 0, 1},
		{"an index that jumps", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, frame(c.event(7)))
			c.end(8)
		}, 2, 6, 0},
		{"an index used again with other bytes", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			other := c.s
			other.key++
			one, err := other.Event(0)
			if err != nil {
				c.t.Fatal(err)
			}
			c.send(nil, frame(one))
			c.end(1)
		}, 1, 0, 1},
		{"an index used again with the same bytes", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, frame(c.event(0)))
			c.end(1)
		}, 1, 0, 0},
		{"an event of 65,537 bytes", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, frame(make([]byte, 65_537)))
			c.end(1)
		}, 1, 0, 1},
		{"a payload that is no OneOf", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, []byte("this is not protobuf"))
			c.end(1)
		}, 1, 0, 1},
		{"a frame without a OneOf", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, append(frame([]byte("nor is this")), frame(c.event(1))...))
			c.end(2)
		}, 2, 0, 1},
		{"a torn frame", func(c *strange) {
			c.send(nil, append(frame(c.event(0)), binary.BigEndian.AppendUint32(nil, 500)...))
			c.send(nil, frame(c.event(1)))
			c.end(2)
		}, 2, 0, 1},
		{"an empty payload", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, nil)
			c.end(1)
		}, 1, 0, 1},
		{"an unknown control header", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(map[string]string{bus.HeaderControl: "explode"}, nil)
			c.end(1)
		}, 1, 0, 1},
		{"a message of a newer version", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(map[string]string{bus.HeaderVersion: "99"}, frame(c.event(1)))
			c.end(1)
		}, 1, 0, 1},
		{"the same session from two nodes", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.node = "stranger"
			c.send(nil, frame(c.event(1)))
			c.end(2)
			c.node = "node-1"
			c.send(nil, frame(c.event(1)))
			c.end(2)
		}, 2, 0, 2},
		{"a negative index and a reserved one", func(c *strange) {
			c.send(nil, frame(c.event(0)))
			c.send(nil, frame(c.event(-1)))
			c.send(nil, frame(c.event(1<<31-1)))
			c.end(1)
		}, 1, 0, 2},
		{"a partition that is not the session's", func(c *strange) {
			right := c.p
			c.send(nil, frame(c.event(0)))
			c.p = 1 - right
			c.send(nil, frame(c.event(1)))
			c.p = right
			c.end(1)
		}, 1, 0, 1},
		{"events that are not framed", func(c *strange) {
			c.send(nil, c.event(0))
			c.send(nil, c.event(1))
			c.end(2)
		}, 2, 0, 0},
	}
	b := twoPartitions(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := fmt.Sprintf("strange-%d", i)
			s := Session{ID: id, Kind: "strange", Events: 2, size: 200, key: uint64(i)}
			c := &strange{t: t, b: b, s: s, node: "node-1", p: bus.Partition(id, b.r.layout.Partitions)}
			tt.do(c)
			m := c.await()
			if m.Events != tt.events || m.Missing != tt.missing {
				t.Errorf("%d events and %d missing, want %d and %d", m.Events, m.Missing, tt.events, tt.missing)
			}
			if err := until(t.Context(), 30*time.Second, func() error { return c.kept(tt.kept) }); err != nil {
				t.Error(err)
			}
		})
	}
	good := b.sessions(Row{})
	if err := b.produce(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(t.Context(), good); err != nil {
		t.Errorf("after all of them: %v", err)
	}
}

func twoPartitions(t *testing.T) *Bench {
	t.Helper()
	r, err := NewRig(t.Context(), RigConfig{Dir: t.TempDir(), Programs: programs, Partitions: 2, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := &Bench{r: r, log: testLog(t), pub: bus.NewPublisher(r.conn, r.layout, bus.PublisherOptions{})}
	t.Cleanup(b.Close)
	for _, program := range []string{"slicer", "completer"} {
		if err := b.service(program, "a", "").start(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// await waits for the manifest and checks the recording against it.
func (c *strange) await() *slicefmt.Manifest {
	c.t.Helper()
	var m *slicefmt.Manifest
	err := until(c.t.Context(), time.Minute, func() error {
		rep, err := c.b.r.lib.Verify(c.t.Context(), c.s.ID, nil)
		switch {
		case err != nil:
			return err
		case rep.Outcome == "":
			return errPending
		case rep.Verdict != recording.OK && rep.Verdict != recording.Incomplete:
			c.t.Fatalf("verify says %s: %v", rep.Verdict, rep.Problems)
		}
		r, err := recording.OpenObject(c.t.Context(), c.b.r.store, c.s.ID)
		if err == nil {
			m, err = r.Manifest()
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// kept looks for n messages beside the recording.
func (c *strange) kept(n int) error {
	found := 0
	for o, err := range c.b.r.store.List(c.t.Context(), c.s.ID+".late/", "") {
		if err != nil {
			return err
		}
		if ok, _ := filepath.Match(c.s.ID+".late/*.json", o.Key); ok {
			found++
		}
	}
	if found != n {
		return fmt.Errorf("%d messages are kept beside the recording, want %d", found, n)
	}
	return nil
}
