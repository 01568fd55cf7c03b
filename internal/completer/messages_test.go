package completer

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// messages is all that was published on a subject of NOTIFY or AUDIT so far.
func (r *rig) messages(subject string) []jetstream.Msg {
	r.t.Helper()
	stream := bus.StreamAudit
	if strings.HasPrefix(subject, "tapedeck.notify.") {
		stream = bus.StreamNotify
	}
	cons, err := r.conn.JetStream().CreateConsumer(r.t.Context(), stream, jetstream.ConsumerConfig{
		FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	n := int(cons.CachedInfo().NumPending)
	if n == 0 {
		return nil
	}
	batch, err := cons.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []jetstream.Msg
	for m := range batch.Messages() {
		out = append(out, m)
	}
	if batch.Error() != nil || len(out) != n {
		r.t.Fatalf("%d of %d messages on %s: %v", len(out), n, subject, batch.Error())
	}
	return out
}
