package uploadlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// codeNoRoom is what a full stream answers.
const codeNoRoom = 10077

// sendAsAsked is send with the failpoints log/<kind>, kind being that of a record
// or one of claim, release and cursor. A refusal is that of a full stream.
func sendAsAsked(ctx context.Context, conn *bus.Conn, msgs []*nats.Msg) (seq uint64, err error) {
	var names []string
	for _, m := range msgs {
		if name := "log/" + kindOf(m); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	err = failpoint.Around(func() error {
		seq, err = exchange(ctx, conn, msgs)
		return err
	}, names...)
	switch {
	case errors.Is(err, failpoint.ErrRefused):
		return 0, &jetstream.APIError{Code: 503, ErrorCode: codeNoRoom, Description: err.Error()}
	case errors.Is(err, failpoint.ErrLost):
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return seq, err
}

func kindOf(m *nats.Msg) string {
	switch {
	case strings.HasSuffix(m.Subject, ".cursor"):
		return "cursor"
	case strings.HasSuffix(m.Subject, ".lease"):
		var l bus.Lease
		if json.Unmarshal(m.Data, &l) == nil && l.Owner == "" {
			return "release"
		}
		return "claim"
	case m.Header.Get(headerTTL) != "":
		return m.Header.Get(bus.HeaderKind) + "-ttl"
	}
	return m.Header.Get(bus.HeaderKind)
}
