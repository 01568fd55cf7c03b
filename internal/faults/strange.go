package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A strange client publishes by hand what a Publisher would never send. It keeps the
// first error.
type strange struct {
	ctx  context.Context
	r    *Rig
	s    Session
	node string
	p    int
	err  error
}

// An oddity is something that no producer should do. Whatever it is, its partition
// goes on, the session has the recording that its good events make, and the rest is
// kept beside it.
type oddity struct {
	name    string
	do      func(c *strange)
	events  int64 // in the recording
	missing int64
	kept    int // messages under .late
}

// oddities are all of them. Each is one session.
var oddities = []oddity{
	{"late events after completion", func(c *strange) {
		c.send(nil, frame(c.event(0)))
		c.end(1)
		_, err := c.await()
		c.note(err)
		c.send(nil, frame(c.event(1)))
	}, 1, 0, 1},
	{"an index that jumps", func(c *strange) {
		c.send(nil, frame(c.event(0)))
		c.send(nil, frame(c.event(7)))
		c.end(8)
	}, 2, 6, 0},
	{"an index used again with other bytes", func(c *strange) {
		c.send(nil, frame(c.event(0)))
		c.send(nil, frame(c.other(0)))
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
		c.p = (right + 1) % c.r.layout.Partitions
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

// stranger is a client with a session of its own in the rig.
func (r *Rig) stranger(ctx context.Context, id string) *strange {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return &strange{ctx: ctx, r: r, node: "node-1", p: bus.Partition(id, r.layout.Partitions),
		s: Session{ID: id, Kind: "strange", Events: 2, size: 200, key: h.Sum64()}}
}

func (c *strange) note(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *strange) send(headers map[string]string, payload []byte) {
	if c.err != nil {
		return
	}
	m := nats.NewMsg(bus.EventSubject(c.p, c.node, c.s.ID))
	m.Data = payload
	for k, v := range headers {
		m.Header.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	_, err := c.r.conn.JetStream().PublishMsg(ctx, m)
	c.note(err)
}

// event is one of the session's, other an event with the same index and other bytes.
func (c *strange) event(index int64) []byte {
	one, err := c.s.Event(index)
	c.note(err)
	return one
}

func (c *strange) other(index int64) []byte {
	s := c.s
	s.key++
	one, err := s.Event(index)
	c.note(err)
	return one
}

func (c *strange) end(count int64) {
	c.send(map[string]string{bus.HeaderControl: string(bus.ControlEnd), bus.HeaderCount: fmt.Sprint(count)}, nil)
}

func frame(one []byte) []byte { return slicefmt.AppendFrame(nil, one) }

// await waits for the manifest and checks the recording against it.
func (c *strange) await() (m *slicefmt.Manifest, err error) {
	var verdict error
	err = until(c.ctx, time.Minute, func() error {
		rep, err := c.r.lib.Verify(c.ctx, c.s.ID, nil)
		switch {
		case err != nil:
			return err
		case rep.Outcome == "":
			return errPending
		case rep.Verdict != recording.OK && rep.Verdict != recording.Incomplete:
			verdict = bad("verify says %s: %v", rep.Verdict, rep.Problems)
			return nil
		}
		rec, err := recording.OpenObject(c.ctx, c.r.store, c.s.ID)
		if err != nil {
			return err
		}
		defer func() { _ = rec.Close() }()
		m, err = rec.Manifest()
		return err
	})
	return m, errors.Join(err, verdict)
}

// kept looks for n messages beside the recording.
func (c *strange) kept(n int) error {
	found := 0
	for o, err := range c.r.store.List(c.ctx, c.s.ID+".late/", "") {
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

// check does something odd and looks what came of it.
func (o oddity) check(c *strange) error {
	o.do(c)
	if c.err != nil {
		return c.err
	}
	m, err := c.await()
	if err != nil {
		return err
	}
	if m.Events != o.events || m.Missing != o.missing {
		return fmt.Errorf("%d events and %d missing, want %d and %d", m.Events, m.Missing, o.events, o.missing)
	}
	return until(c.ctx, 30*time.Second, func() error { return c.kept(o.kept) })
}
