package bus

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Away says whether an error means that the bus cannot be reached, or does not
// answer, which time can mend; and not that it refuses, or is set up wrong.
func Away(err error) bool {
	var net net.Error
	var api *jetstream.APIError
	switch {
	case errors.Is(err, ErrPermission), errors.Is(err, ErrNotInstalled), errors.Is(err, nats.ErrAuthorization):
		return false
	case errors.As(err, &api):
		return api.Code >= 500
	}
	return errors.As(err, &net) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoServers) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) // what stands before a server that is away may take the connection, and end it
}

// Errors that callers can test for.
var (
	// ErrConflict: another writer has published to the session. Nothing of ours
	// that was not acknowledged before was stored.
	ErrConflict = errors.New("another writer has the session")
	// ErrEnded: the session has ended, or was handed over to another node.
	ErrEnded = errors.New("session has ended")
	// ErrPermission: the server does not let this user do it.
	ErrPermission = errors.New("not permitted")
	// ErrTooLarge: a record or a message is over a limit that waiting cannot mend.
	ErrTooLarge = errors.New("too large")
	// ErrIndex: the event's index is not one that may follow.
	ErrIndex = errors.New("wrong event index")
	// ErrClosed: the stream, or its publisher, was closed.
	ErrClosed = errors.New("closed")
	// ErrNoSession: nothing is known of the session.
	ErrNoSession = errors.New("no such session on the bus")
	// ErrTrimmed: messages that were there when reading began are gone.
	ErrTrimmed = errors.New("no longer on the bus")
	// ErrNotInstalled: the streams are not there.
	ErrNotInstalled = errors.New("tapedeck's streams are not on this NATS account")
	// ErrVersion: a newer version than this program knows.
	ErrVersion = errors.New("newer version")
	// ErrPayload: a message's payload is not whole records. What was good before
	// the bad byte has been handed out.
	ErrPayload = errors.New("bad payload")
)
