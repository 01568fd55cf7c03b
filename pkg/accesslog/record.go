package accesslog

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Kind says what a record tells of its session.
type Kind string

// Kinds of record. The field's clients send ends only, and no kind.
const (
	KindStart Kind = "start" // it began
	KindAlive Kind = "alive" // it goes on; bytes so far
	KindEnd   Kind = "end"   // it ended; see Reason
)

// A Reason says why a session ended.
type Reason string

// Reasons of an end.
const (
	ReasonClosed   Reason = "closed"   // one of the sides closed it
	ReasonIdle     Reason = "idle"     // nothing passed for the time-out
	ReasonShutdown Reason = "shutdown" // the tracker stopped
	ReasonReaped   Reason = "reaped"   // the tracker died; somebody else noticed
)

// Protocols of a session.
const (
	TCP = "tcp"
	UDP = "udp"
)

// A Record is what is known of a session at one time.
type Record struct {
	SessionID  string    `json:"sessionId"` // 16 hexadecimal digits
	ResourceID int64     `json:"resourceId"`
	SourceAddr string    `json:"sourceAddr"` // host:port, [v6]:port; the host alone if several connections were merged
	DestAddr   string    `json:"destAddr"`   // host:port
	Protocol   string    `json:"protocol"`   // TCP or UDP
	StartedAt  time.Time `json:"startedAt"`
	EndedAt    time.Time `json:"endedAt"` // zero: not ended
	BytesTx    int64     `json:"bytesTx"` // from the source
	BytesRx    int64     `json:"bytesRx"` // to the source
	// ConnectionCount is how many connections were merged into the session; 0
	// means 1. See Connections.
	ConnectionCount int64 `json:"connectionCount,omitempty"`

	// What follows is not in the field's records.

	Kind   Kind   `json:"kind,omitempty"`
	Reason Reason `json:"reason,omitempty"` // of an end
	User   string `json:"user,omitempty"`
	Node   string `json:"node,omitempty"` // whose tracker made the record
	Seq    int64  `json:"seq,omitempty"`  // counts the records of the session from 0
}

// Connections is the number of connections that the record stands for: at least 1.
func (r *Record) Connections() int64 { return max(r.ConnectionCount, 1) }

// Ended says whether the record is the last of its session.
func (r *Record) Ended() bool {
	return r.Kind == KindEnd || r.Kind == "" && !r.EndedAt.IsZero()
}

// Field is the record as the field's clients would send it.
func (r Record) Field() Record {
	r.Kind, r.Reason, r.User, r.Node, r.Seq = "", "", "", "", 0
	return r
}

// Newer says whether r tells more of a session than o, another record of it:
// an end beats all else, then the higher Seq, then the later end.
func (r *Record) Newer(o *Record) bool {
	if r.Ended() != o.Ended() {
		return r.Ended()
	}
	return cmp.Or(cmp.Compare(r.Seq, o.Seq), r.EndedAt.Compare(o.EndedAt)) > 0
}

// maxText is the longest address, user or node that a record may have, in bytes.
const maxText = 1024

// Validate says everything that is wrong with the record at once.
func (r *Record) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.SessionID == "" {
		bad("no sessionId")
	} else if err := bus.ValidName(r.SessionID); err != nil {
		bad("sessionId: %w", err)
	}
	if r.StartedAt.IsZero() {
		bad("no startedAt")
	}
	if r.Protocol != TCP && r.Protocol != UDP {
		bad("protocol %.20q is neither tcp nor udp", r.Protocol)
	}
	for _, n := range []struct {
		name string
		n    int64
	}{{"bytesTx", r.BytesTx}, {"bytesRx", r.BytesRx}, {"connectionCount", r.ConnectionCount}, {"seq", r.Seq}} {
		if n.n < 0 {
			bad("%s: %d is negative", n.name, n.n)
		}
	}
	for _, s := range []struct{ name, s string }{
		{"sourceAddr", r.SourceAddr}, {"destAddr", r.DestAddr}, {"user", r.User}, {"node", r.Node},
	} {
		if len(s.s) > maxText {
			bad("%s: %d bytes are over %d", s.name, len(s.s), maxText)
		}
	}
	switch r.Kind {
	case "", KindStart, KindAlive:
	case KindEnd:
		if r.EndedAt.IsZero() {
			bad("an end without endedAt")
		}
	default:
		bad("unknown kind %.20q", r.Kind)
	}
	switch r.Reason {
	case "", ReasonClosed, ReasonIdle, ReasonShutdown, ReasonReaped:
	default:
		bad("unknown reason %.20q", r.Reason)
	}
	return errors.Join(errs...)
}
