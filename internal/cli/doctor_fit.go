package cli

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// What one partition is for. It is one stream with one leader that syncs each write,
// and one slicer reads it: half of what two busy cores did end to end (see
// docs/benchmarks.md), in messages, and in bytes what a part's worth of compressing
// leaves of a core.
const (
	partitionMessages = 10_000   // a second
	partitionBytes    = 20 << 20 // a second
	// fitSafe is the share of that from which on it is said: peaks are higher than
	// the means that are seen here.
	fitSafe = 0.5
	// roomFor is how long a partition's stream should hold what comes when S3 is away.
	roomFor = time.Hour
	// meanOver is the least time that a mean is taken over.
	meanOver = time.Minute
	// fitWatch is how long the streams are watched for what comes now.
	fitWatch = time.Second
)

// A flow is what comes into a stream, a second.
type flow struct{ messages, bytes float64 }

func (f flow) share() float64 { return max(f.messages/partitionMessages, f.bytes/partitionBytes) }

// meanFlow is what a stream's messages say of the time that they were written in;
// zero if that is too short to say anything.
func meanFlow(s jetstream.StreamState) flow {
	d := s.LastTime.Sub(s.FirstTime)
	if s.Msgs < 2 || d < meanOver {
		return flow{}
	}
	return flow{float64(s.Msgs) / d.Seconds(), float64(s.Bytes) / d.Seconds()}
}

// flowBetween is what came between two looks.
func flowBetween(a, b jetstream.StreamState, d time.Duration) flow {
	n := float64(b.LastSeq-min(a.LastSeq, b.LastSeq)) / d.Seconds()
	return flow{n, n * float64(b.Bytes) / float64(max(b.Msgs, 1))}
}

// A fit is whether an installation's partitions are enough, and what would be.
type fit struct {
	busiest int     // the partition with most
	share   float64 // of what it is for
	need    int     // partitions for all that comes; those that there are, or more
	room    time.Duration
	tight   int // the partition that is full first, if nothing is archived
}

// fitOf compares what comes into each partition with what one is for, and with its room.
func fitOf(flows []flow, room []int64) fit {
	f := fit{need: len(flows), room: math.MaxInt64}
	total := flow{}
	for p, x := range flows {
		total.messages, total.bytes = total.messages+x.messages, total.bytes+x.bytes
		if s := x.share(); s > f.share {
			f.busiest, f.share = p, s
		}
		if x.bytes > 0 && room[p] > 0 {
			if d := time.Duration(min(float64(room[p])/x.bytes, 1e9) * float64(time.Second)); d < f.room {
				f.tight, f.room = p, d
			}
		}
	}
	f.need = max(f.need, int(math.Ceil(total.share()/fitSafe)))
	return f
}

// fits says whether the number of partitions still fits what comes: the mean over
// what each stream holds, or what came in the last second, whichever is more.
func (c *doctorCommand) fits(ctx context.Context, e *examination, conn *bus.Conn, l bus.Layout) {
	first, err := eventStates(ctx, conn, l)
	if err == nil {
		select {
		case <-time.After(fitWatch):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	var second []*jetstream.StreamInfo
	if err == nil {
		second, err = eventStates(ctx, conn, l)
	}
	if err != nil {
		e.fail("partitions: %v", err)
		return
	}
	flows, room := make([]flow, l.Partitions), make([]int64, l.Partitions)
	for p := range flows {
		mean, now := meanFlow(second[p].State), flowBetween(first[p].State, second[p].State, fitWatch)
		flows[p] = flow{max(mean.messages, now.messages), max(mean.bytes, now.bytes)}
		room[p] = second[p].Config.MaxBytes
	}
	fitOf(flows, room).say(e, l)
}

func (f fit) say(e *examination, l bus.Layout) {
	switch {
	case f.share > fitSafe && f.need > l.Partitions:
		e.warn("partitions: partition %d takes %.0f %% of what one is for (%d messages or %s a second); what comes wants %d partitions, and there are %d: the number is fixed, so plan an installation with --partitions %d",
			f.busiest, 100*f.share, partitionMessages, bytesText(partitionBytes), f.need, l.Partitions, f.need)
	case f.share > fitSafe:
		e.warn("partitions: partition %d takes %.0f %% of what one is for (%d messages or %s a second), and the others less: a few sessions are that busy; %d partitions are enough for all that comes",
			f.busiest, 100*f.share, partitionMessages, bytesText(partitionBytes), l.Partitions)
	default:
		e.ok("partitions: %d fit; the busiest takes %.1f %% of what one is for (%d messages or %s a second)", l.Partitions, 100*f.share, partitionMessages, bytesText(partitionBytes))
	}
	if f.room < roomFor {
		e.warn("partitions: at what comes now partition %d is full %s after S3 goes away, and then producers wait: raise max_bytes of %s", f.tight, durationText(f.room), bus.EventStream(f.tight))
	}
}

func eventStates(ctx context.Context, conn *bus.Conn, l bus.Layout) ([]*jetstream.StreamInfo, error) {
	infos := make([]*jetstream.StreamInfo, l.Partitions)
	for p := range infos {
		s, err := conn.JetStream().Stream(ctx, bus.EventStream(p))
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", bus.EventStream(p), err)
		}
		infos[p] = s.CachedInfo()
	}
	return infos, nil
}
