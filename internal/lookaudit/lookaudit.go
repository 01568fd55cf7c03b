// Package lookaudit publishes session.recording.access events: each says that
// somebody looked at a recording, who, and in what form.
package lookaudit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// index is the one that events of the audit log alone carry, outside any recording.
const index = math.MaxInt32

// patience is how long the bus may take.
const patience = 5 * time.Second

// A Look is one look at a recording.
type Look struct {
	Session string
	User    string // who looked: the name of a token, or an account
	Kind    string // terminal, exec or desktop, as far as it is known
	Format  string // how: web, live, or what it was exported as
}

// Publish stores a session.recording.access event on the audit subject. When it
// returns nil the bus has it.
func Publish(ctx context.Context, conn *bus.Conn, l Look) error {
	kind, ok := events.KindByType("session.recording.access", "")
	if !ok {
		return errors.New("make access event: its type is not registered")
	}
	oneof, err := events.Wrap(&events.SessionRecordingAccess{
		Metadata: &events.Metadata{
			Index: index, Type: kind.Type, Code: kind.Codes[0], Id: uuid.NewString(),
			Time: timestamppb.New(time.Now().UTC().Truncate(time.Millisecond)),
		},
		SessionId: l.Session, User: &events.UserMetadata{User: l.User}, SessionType: l.Kind, Format: l.Format,
	})
	if err != nil {
		return fmt.Errorf("make access event: %w", err)
	}
	data, err := events.Marshal(oneof)
	if err != nil {
		return fmt.Errorf("make access event: %w", err)
	}
	m := nats.NewMsg(bus.AuditSubject(kind.Type))
	m.Data = data
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := conn.JetStream().PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish access event: %w", err)
	}
	return nil
}
