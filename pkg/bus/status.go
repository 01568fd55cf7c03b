package bus

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A statusSub is the one subscription for all sessions of a node whose status
// somebody on this connection wants.
type statusSub struct {
	sub   *nats.Subscription
	watch map[string]map[*statusWatch]struct{} // by session
}

type statusWatch struct {
	f func(*events.StreamStatus)
}

// WatchStatus calls f with each status of session sid of node, from now on until
// stop is called. The calls come one after another from one goroutine for all
// sessions of the connection, so f must not block. A status may be missed while
// the connection is down; each says all that the ones before it said.
//
// Any number of sessions of a node share one subscription.
func WatchStatus(c *Conn, node, sid string, f func(*events.StreamStatus)) (stop func(), err error) {
	if err := validNames(node, sid); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.statuses[node]
	if s == nil {
		s = &statusSub{watch: map[string]map[*statusWatch]struct{}{}}
		if s.sub, err = c.nc.Subscribe(StatusSubject(node, "*"), func(m *nats.Msg) { c.onStatus(s, m) }); err != nil {
			return nil, fmt.Errorf("watch status of node %s: %w", node, err)
		}
		c.statuses[node] = s
	}
	if s.watch[sid] == nil {
		s.watch[sid] = map[*statusWatch]struct{}{}
	}
	w := &statusWatch{f}
	s.watch[sid][w] = struct{}{}
	return func() { c.unwatch(s, node, sid, w) }, nil
}

func (c *Conn) unwatch(s *statusSub, node, sid string, w *statusWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.watch[sid], w)
	if len(s.watch[sid]) == 0 {
		delete(s.watch, sid)
	}
	if len(s.watch) == 0 && c.statuses[node] == s {
		delete(c.statuses, node)
		_ = s.sub.Unsubscribe() // fails only on a closed connection
	}
}

func (c *Conn) onStatus(s *statusSub, m *nats.Msg) {
	sid := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	c.mu.Lock()
	ws := make([]*statusWatch, 0, len(s.watch[sid]))
	for w := range s.watch[sid] {
		ws = append(ws, w)
	}
	c.mu.Unlock()
	if len(ws) == 0 {
		return
	}
	st := new(events.StreamStatus)
	if err := proto.Unmarshal(m.Data, st); err != nil {
		c.log.Warn("status is unreadable", "subject", m.Subject, "bytes", len(m.Data), "err", err)
		return
	}
	for _, w := range ws {
		w.f(st)
	}
}

// PublishStatus tells whoever watches session sid of node how far it is in S3.
// Nothing is stored, and nobody need be listening.
func PublishStatus(c *Conn, node, sid string, st *events.StreamStatus) error {
	b, err := proto.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode status of session %s: %w", sid, err)
	}
	if err := c.nc.Publish(StatusSubject(node, sid), b); err != nil {
		return fmt.Errorf("publish status of session %s: %w", sid, err)
	}
	return nil
}
