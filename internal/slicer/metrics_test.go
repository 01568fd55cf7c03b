package slicer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A readings reads the metrics of the slicers that the rig starts after it was made.
type readings struct {
	r      *rig
	reader *sdk.ManualReader
}

func (r *rig) measure() *readings {
	x := &readings{r, sdk.NewManualReader()}
	provider := sdk.NewMeterProvider(sdk.WithReader(x.reader))
	r.t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	r.meter = provider.Meter("")
	return x
}

// all are the values now, by name without the prefix, and the label's value if there is
// one: sessions, late/payload, lag_events/0.
func (x *readings) all() map[string]float64 {
	x.r.t.Helper()
	var got metricdata.ResourceMetrics
	if err := x.reader.Collect(x.r.t.Context(), &got); err != nil {
		x.r.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			name := strings.TrimPrefix(m.Name, "tapedeck_slicer_")
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				points(out, name, d.DataPoints)
			case metricdata.Gauge[int64]:
				points(out, name, d.DataPoints)
			case metricdata.Gauge[float64]:
				points(out, name, d.DataPoints)
			}
		}
	}
	return out
}

func points[N int64 | float64](out map[string]float64, name string, ps []metricdata.DataPoint[N]) {
	for _, p := range ps {
		at := name
		for _, kv := range p.Attributes.ToSlice() {
			at += "/" + kv.Value.AsString()
		}
		out[at] = float64(p.Value)
	}
}

// is waits until the metrics have these values, all at once.
func (x *readings) is(want map[string]float64) {
	x.r.t.Helper()
	var got map[string]float64
	same := func(name string) bool { v, ok := got[name]; return ok && v == want[name] }
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = x.all()
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(name string) bool { return !same(name) }) {
			return
		}
	}
	for name, v := range want {
		if !same(name) {
			x.r.t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	x.r.t.FailNow()
}

// Each counter counts what it says, and nothing else.
func TestWhatCountersCount(t *testing.T) {
	r := newRig(t, 1)
	x := r.measure()
	r.start()
	whole, gapped, open := r.session("whole"), r.session("gapped"), r.session("open")
	whole.prints(4, 100)
	gapped.prints(2, 100)
	gapped.next += 3
	gapped.prints(1, 100)
	gapped.publish(nil, slicefmt.AppendFrame(nil, gapped.sent[1])) // a duplicate
	open.prints(5, 100)
	open.publish(nil, []byte("no event"))
	open.publish(nil, []byte("nor this"))
	open.publish(control("dance", open.next), nil)
	want := map[string]float64{
		"sessions": 3, "messages_total": 8, "events_total": 12, "duplicates_total": 1, "gaps_total": 1,
		"late_total/payload": 2, "late_total/control": 1, "late_total/index": 0, "late_total/node": 0,
		"sessions_ended_total": 0, "part_bytes_total": 0, "parts_total/ok": 0,
		"takeovers_total": 1, "fenced_total": 0, "partitions": 1, "members": 1,
		"unread_messages/0": 0, "unarchived_messages/0": 0, "lag_events/0": 0, "lag_bytes/0": 0, "lag_seconds/0": 0,
		"event_age_seconds/0": 0, "cursor/0": float64(r.lastSeq(0)),
	}
	x.is(want)

	whole.end()
	gapped.end()
	bytes := whole.verify().parts[0].Bytes + gapped.verify().parts[0].Bytes
	maps.Copy(want, map[string]float64{
		"sessions": 1, "messages_total": 10, "sessions_ended_total": 2, "parts_total/ok": 2,
		"part_bytes_total": float64(bytes), "cursor/0": float64(r.lastSeq(0)),
	})
	x.is(want)
}

// A partition that another claims is given up once and claimed again once.
func TestTakeoversAndFencesAreCounted(t *testing.T) {
	r := newRig(t, 1)
	first := r.measure()
	n := r.start()
	p := r.session("s")
	p.prints(3, 100)
	first.is(map[string]float64{"takeovers_total": 1, "fenced_total": 0, "partitions": 1, "sessions": 1, "events_total": 3})
	within(t, 30*time.Second, "all is durable", func() bool { return r.cursor(0) == r.lastSeq(0) })
	if _, err := uploadlog.Claim(t.Context(), r.conn, 0, "other", nil, "test"); err != nil {
		t.Fatal(err)
	}
	p.prints(3, 100)
	first.is(map[string]float64{"takeovers_total": 2, "fenced_total": 1, "partitions": 1, "sessions": 1})

	n.leave()
	first.is(map[string]float64{"takeovers_total": 2, "fenced_total": 1, "sessions": 0})
	second := r.measure()
	r.start()
	second.is(map[string]float64{"takeovers_total": 1, "fenced_total": 0, "partitions": 1, "partitions_assigned": 1, "members": 1, "sessions": 1})
	p.end()
	p.verify()
	second.is(map[string]float64{"sessions": 0, "sessions_ended_total": 1, "held_bytes": 0})
}

// torn publishes three events of size bytes and a piece of a fourth.
func (p *producer) torn(size int) (payload int) {
	var b []byte
	for range 3 {
		b = append(b, p.frame(size)...)
	}
	b = append(b, b[:20]...)
	p.publish(nil, b)
	return len(b)
}

// Refused messages that the store does not take stop the reading at a known place. From
// there on the lag is what was sent, and how long ago.
func TestLagIsWhatWasSent(t *testing.T) {
	r := newRig(t, 1)
	r.cfg.AbandonEnd = 40 * time.Second // so that the stream is asked every 4 s
	gate := make(chan struct{})
	r.parts = &faultyStore{Store: r.store, t: t, fault: func(call, _ string, _ int) (error, error) {
		if call == "put" {
			select {
			case <-gate:
			case <-t.Context().Done(): // the test has failed
			}
		}
		return nil, nil
	}}
	x := r.measure()
	p := r.session("s")
	var first, last time.Time
	for i := range maxLoose {
		p.torn(1000)
		if last = time.Now(); i == 0 {
			first = last
		}
	}
	n := r.start()
	x.is(map[string]float64{"messages_total": maxLoose})
	bytes := 0
	for range 7 {
		bytes += p.torn(1000)
	}
	x.is(map[string]float64{
		"unread_messages/0": 7, "lag_events/0": 21, "unarchived_messages/0": maxLoose + 7, "cursor/0": 0,
		"messages_total": maxLoose, "events_total": 3 * maxLoose, "late_total/payload": maxLoose, "sessions": 1,
	})
	got := x.all()
	between(t, "lag_bytes", got["lag_bytes/0"], 0.95*float64(bytes), 1.1*float64(bytes)) // with subjects and the like
	between(t, "held_bytes", got["held_bytes"], 3*maxLoose*1000, 1.5*3*maxLoose*1000)
	x.grows(n, first, last)
	close(gate)
	p.end()
	p.verify()
	x.is(map[string]float64{
		"unread_messages/0": 0, "lag_events/0": 0, "lag_bytes/0": 0, "lag_seconds/0": 0, "event_age_seconds/0": 0,
		"unarchived_messages/0": 0, "sessions": 0, "held_bytes": 0, "late_total/payload": maxLoose + 7,
	})
}

// grows looks at the next looks of the actor at its partition: each says how long ago the
// last message that was read, and the first, came to the bus.
func (x *readings) grows(n *node, first, last time.Time) {
	x.r.t.Helper()
	const slack = 2 // seconds that the bus's answers may take; it is asked every 4
	was := n.claims.get(0).now.Load()
	for looks := 0; looks < 5; {
		within(x.r.t, 30*time.Second, "another look", func() bool { return n.claims.get(0).now.Load() != was })
		was = n.claims.get(0).now.Load()
		got := x.all()
		if n.claims.get(0).now.Load() != was {
			continue
		}
		looks++
		ago, age := was.at.Sub(last).Seconds(), was.at.Sub(first).Seconds()
		between(x.r.t, "lag_seconds", got["lag_seconds/0"], ago-slack, ago+slack)
		between(x.r.t, "event_age_seconds", got["event_age_seconds/0"], age-slack, age+slack)
	}
}

func between(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s is %v, want %v to %v", what, got, low, high)
	}
}
