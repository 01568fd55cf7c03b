package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Config says how a tracker works. Zero fields mean the defaults.
type Config struct {
	// Node is whose tracker this is, in every record: 1 to 64 of A-Z a-z 0-9 _ -.
	Node string
	// Alive is the longest time between two records of an open session, default
	// 5 min. Each session takes up to a tenth less, so that sessions that began
	// together do not speak up together.
	Alive time.Duration
	// Idle ends a UDP session when no packet has passed for so long, default
	// 2 min: the least for which a NAT must keep a mapping.
	Idle time.Duration
	// Merge makes one session of connections with the same source host,
	// destination, protocol, resource and user whose pauses are not longer;
	// [MergeGap] is the field's. Zero: each connection is a session.
	Merge time.Duration

	// SpoolRecords and SpoolBytes (of JSON) bound what waits for the bus, default
	// 100,000 and 64 MiB. When one is reached, a record goes of which a newer one
	// of the same session says as much; if there is none, the oldest. What is on
	// its way to the bus (1 MiB at most) does not go.
	SpoolRecords int
	SpoolBytes   int64
	// StateFile, if set, lets the next start with the same file finish what this
	// one leaves behind when it is killed. It is not synced: it survives the
	// process, not a power failure. One tracker at a time may have it.
	StateFile string
	// Drain is how long Run goes on sending after its context is done, default 5 s.
	Drain time.Duration
	// AckTimeout is how long one try of a message may take, default 5 s.
	AckTimeout time.Duration

	// Lines gets a line for each session that begins and ends; see
	// [AppendLine]. While it blocks, records wait, connections do not. May be nil.
	Lines  io.Writer
	Logger *slog.Logger // nil: discard
	Meter  metric.Meter // nil: none
}

func (c Config) orDefault() Config {
	if c.Alive == 0 {
		c.Alive = 5 * time.Minute
	}
	if c.Idle == 0 {
		c.Idle = 2 * time.Minute
	}
	if c.SpoolRecords == 0 {
		c.SpoolRecords = 100_000
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 64 << 20
	}
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says everything that is wrong with the configuration at once.
func (c Config) Validate() error {
	c = c.orDefault()
	var errs []error
	if err := bus.ValidName(c.Node); err != nil {
		errs = append(errs, fmt.Errorf("node: %w", err))
	}
	for _, f := range []struct {
		name string
		d    time.Duration
		min  time.Duration
	}{
		{"alive", c.Alive, time.Second}, {"idle", c.Idle, 10 * time.Millisecond}, {"merge", c.Merge, 0},
		{"drain", c.Drain, 0}, {"ack time-out", c.AckTimeout, 10 * time.Millisecond},
	} {
		if f.d < f.min {
			errs = append(errs, fmt.Errorf("%s: %s is less than %s", f.name, f.d, f.min))
		}
	}
	if c.SpoolRecords < 10 {
		errs = append(errs, fmt.Errorf("spool records: %d is less than 10", c.SpoolRecords))
	}
	if c.SpoolBytes < MaxMessage {
		errs = append(errs, fmt.Errorf("spool bytes: %d is less than %d", c.SpoolBytes, MaxMessage))
	}
	return errors.Join(errs...)
}

// A Publisher takes messages to the bus. It may be called from several
// goroutines, never with two messages of one resource at a time.
type Publisher interface {
	// Publish returns nil once the bus has stored the message. When it returns an
	// error the message may or may not be stored; it is then given again, byte
	// for byte the same and with the same id. It does not retry, and keeps
	// nothing of the message.
	Publish(ctx context.Context, m Message) error
}

// A Message is records of one resource, a JSON array.
type Message struct {
	Resource int64
	Writer   string // [bus.HeaderWriter]
	Number   int64  // [HeaderMessage]
	Dropped  Counts // [HeaderDropped]
	Body     []byte
}

// Counts are numbers of records.
type Counts struct {
	Start, Alive, End int64
}

// Total is the sum of all kinds.
func (c Counts) Total() int64 { return c.Start + c.Alive + c.End }

// String is as in [HeaderDropped].
func (c Counts) String() string {
	return fmt.Sprintf("start=%d alive=%d end=%d", c.Start, c.Alive, c.End)
}

func (c *Counts) add(k Kind) {
	switch k {
	case KindStart:
		c.Start++
	case KindAlive:
		c.Alive++
	default:
		c.End++
	}
}

func (c Counts) minus(o Counts) Counts {
	return Counts{c.Start - o.Start, c.Alive - o.Alive, c.End - o.End}
}

// Stats are what a tracker has done.
type Stats struct {
	Open         int    // sessions
	Spooled      int    // records that wait or are on their way
	SpooledBytes int64  // of JSON
	Sent         Counts // acknowledged by the bus
	Dropped      Counts // records that are gone
	Attempts     int64  // messages given to the publisher, each try
}
