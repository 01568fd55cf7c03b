package completer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// What notifications are about: the last token of their subject.
const (
	NotifyCompleted = "completed" // the recording is there
	NotifyAbandoned = "abandoned" // it is there, but its producer fell silent
	NotifyFailed    = "failed"    // parts are lost; there is no recording
)

// HeaderID is on notifications and session.upload events. A message that comes
// again has the same one: it is the session and the sequence of the log record that
// the message tells of.
const HeaderID = "Tapedeck-Id"

// A Notification is what is published on tapedeck.notify.recording.<what>.
type Notification struct {
	V        int       `json:"v"`
	ID       string    `json:"id"` // as in HeaderID
	What     string    `json:"what"`
	Session  string    `json:"session"`
	Outcome  string    `json:"outcome"`            // complete, gapped or abandoned
	Bucket   string    `json:"bucket,omitempty"`   // where key and manifest are
	Key      string    `json:"key,omitempty"`      // empty for a session without events
	Manifest string    `json:"manifest,omitempty"` // empty with failed
	Bytes    int64     `json:"bytes"`
	Events   int64     `json:"events"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitempty"` // with failed
}

// uploadIndex is the index that session.upload carries, outside any recording.
const uploadIndex = math.MaxInt32

// notify publishes a notification that tells of the log record at seq.
func (c *Completer) notify(ctx context.Context, what, sid string, seq uint64, rec bus.CompletedRecord) error {
	id := messageID(sid, seq)
	data, err := json.Marshal(Notification{
		V: bus.LogVersion, ID: id, What: what, Session: sid, Outcome: rec.Outcome, Bucket: c.bucket, Key: rec.Key,
		Manifest: rec.Manifest, Bytes: rec.Bytes, Events: rec.Events, At: rec.At, Reason: rec.Lost,
	})
	if err != nil {
		return fmt.Errorf("encode notification: %w", err)
	}
	return c.publish(ctx, bus.NotifySubject(what), id, data)
}

// publishUpload publishes the session.upload event of a recording. There is none
// for a session without events.
func (c *Completer) publishUpload(ctx context.Context, sid string, seq uint64, rec bus.CompletedRecord) error {
	if rec.Key == "" {
		return nil
	}
	id := messageID(sid, seq)
	kind, ok := events.KindByType("session.upload", "")
	if !ok {
		return fmt.Errorf("make session.upload event: type is not registered")
	}
	oneof, err := events.Wrap(&events.SessionUpload{
		Metadata: &events.Metadata{
			Index: uploadIndex, Type: kind.Type, Code: kind.Codes[0],
			// Made of the id, so that a repeat is the same event.
			Id:   uuid.NewSHA1(uuid.NameSpaceOID, []byte("tapedeck session.upload "+id)).String(),
			Time: timestamppb.New(rec.At),
		},
		Session:    &events.SessionMetadata{SessionId: sid},
		SessionUrl: "s3://" + c.bucket + "/" + rec.Key,
	})
	if err != nil {
		return fmt.Errorf("make session.upload event: %w", err)
	}
	data, err := events.Marshal(oneof)
	if err != nil {
		return fmt.Errorf("make session.upload event: %w", err)
	}
	return c.publish(ctx, bus.AuditSubject(kind.Type), id, data)
}

// publish stores one message. After an error it may be stored; its id tells a
// repeat.
func (c *Completer) publish(ctx context.Context, subject, id string, data []byte) error {
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set(HeaderID, id)
	if t := bus.Trace(ctx); t != "" {
		m.Header.Set(bus.HeaderTrace, t)
	}
	err := c.write("publish "+subject, func() error {
		_, err := c.conn.JetStream().PublishMsg(ctx, m)
		return err
	})
	if err != nil {
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	return nil
}

func messageID(sid string, seq uint64) string { return sid + "/" + strconv.FormatUint(seq, 10) }
