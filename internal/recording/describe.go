package recording

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// maxDescribed bounds the sessions that are asked about one by one.
const maxDescribed = 200

// describe fills in who and when of the first maxDescribed sessions, from their
// first message on the bus. What cannot be read stays unknown: a list is worth
// more without it than not at all.
func (l *Library) describe(ctx context.Context, infos []Info) {
	var group errgroup.Group
	group.SetLimit(8)
	for i := range min(len(infos), maxDescribed) {
		group.Go(func() error {
			l.describeOne(ctx, &infos[i])
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
}

func (l *Library) describeOne(ctx context.Context, i *Info) {
	stream, err := l.Conn.JetStream().Stream(ctx, bus.EventStream(i.Partition))
	if err != nil {
		return
	}
	msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(bus.EventSubject(i.Partition, "*", i.Session)))
	if err != nil {
		return
	}
	if i.Started.IsZero() {
		i.Started = msg.Time
	}
	first := bus.Message{Payload: msg.Data, Control: bus.Control(msg.Header.Get(bus.HeaderControl))}
	for oneof, err := range first.Records() {
		if err != nil {
			return
		}
		h, err := events.Scan(oneof)
		if err != nil || h.Index > 0 {
			return
		}
		i.Metadata.Observe(h, oneof)
	}
	i.Metadata.End = time.Time{} // it is not over
}
