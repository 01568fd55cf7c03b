package slicer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
)

// A lateRecord is what is kept of a message that cannot be recorded.
type lateRecord struct {
	V        int         `json:"v"`
	Reason   string      `json:"reason"` // one of the late constants
	Error    string      `json:"error,omitempty"`
	Subject  string      `json:"subject"`
	Sequence uint64      `json:"sequence"` // in the partition's stream
	Time     time.Time   `json:"time"`     // of the bus
	Headers  nats.Header `json:"headers,omitempty"`
	Payload  []byte      `json:"payload"` // base64
}

// late keeps a message, or one of which a part could not be recorded, as an object
// under <sid>.late. Until it is there it holds the cursor, and the session's next
// record if it is of an open session. The name is made of where the message
// stands in its stream, so writing it again writes the same object.
func (p *partition) late(s *session, m *input, reason string) {
	p.met.lates[reason].add(p.ctx)
	p.log.Warn("message cannot be recorded; it is kept", "session", m.SID, "node", m.Node, "reason", reason, "sequence", m.Seq, "err", m.err)
	rec := lateRecord{V: 1, Reason: reason, Sequence: m.Seq, Time: m.Time, Payload: m.Payload}
	if m.raw != nil {
		rec.Subject, rec.Headers, rec.Payload = m.raw.Subject(), m.raw.Headers(), m.raw.Data()
	}
	if m.err != nil {
		rec.Error = m.err.Error()
	}
	sid := m.SID
	if sid == "" {
		sid = "_unknown"
	}
	key := p.deps.Store.Key(fmt.Sprintf("%s.late/%d-%020d-%x.json", sid, p.p, m.Seq, p.created.Unix()))
	body, err := json.MarshalIndent(rec, "", " ")
	if err != nil {
		p.fail(fmt.Errorf("encode late message %d: %w", m.Seq, err))
		return
	}
	p.loose[m.Seq]++
	if s != nil && !s.over {
		s.lates++
	}
	p.goDo(func() {
		err := p.keepTrying(p.ctx, p.smallSlots, "put late message", func(ctx context.Context) error {
			failpoint.Hit("slicer/put-late/before")
			err := p.deps.Store.Put(ctx, key, body, false)
			failpoint.Hit("slicer/put-late/after")
			return p.inStore(err)
		}, nil)
		if err != nil {
			return
		}
		p.post(func() {
			if p.loose[m.Seq]--; p.loose[m.Seq] == 0 {
				delete(p.loose, m.Seq)
			}
			if s != nil && s.lates > 0 {
				s.lates--
				p.want(s)
			}
		})
	})
}
