package slicer

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// While the bus was away nobody could be heard. Producers that come back with it
// get a while to say so; who then is silent still is abandoned.
func TestSilenceWhileTheBusWasAwayIsNotTheProducers(t *testing.T) {
	met, err := newMetrics(noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	sh := &shared{cfg: DefaultConfig(), deps: Deps{Log: slog.New(slog.DiscardHandler), Layout: bus.Layout{Partitions: 1}}, met: met}
	sh.mem.limit = 1 << 30
	p := newPartition(t.Context(), sh, 0, nil)
	defer p.close()
	now, seq := time.Unix(1_000_000, 0), uint64(0)
	hear := func(sid string) {
		seq++
		p.message(&input{Message: bus.Message{Node: "n1", SID: sid, Seq: seq, Time: now, Version: 1, Control: bus.ControlAlive}})
	}
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(5 * time.Second)
			info := &jetstream.StreamInfo{TimeStamp: now, Created: p.created}
			info.State.LastSeq = seq
			p.heard(info, seq)
		}
	}
	over := func(sid string) bool { return p.sessions[sid].over }

	for _, sid := range []string{"quiet", "back"} {
		p.sessions[sid] = newSession(0, sid) // opened already: there is nothing here to look it up in
		hear(sid)
	}
	pass(30 * time.Minute)
	now = now.Add(3 * time.Hour) // nothing answers
	pass(10 * time.Minute)
	if over("quiet") || over("back") {
		t.Fatal("abandoned for the time that the bus was away")
	}
	hear("back")
	pass(10 * time.Minute)
	if !over("quiet") || over("back") {
		t.Errorf("quiet abandoned %v, back abandoned %v", over("quiet"), over("back"))
	}
	pass(51 * time.Minute)
	if !over("back") {
		t.Error("a session that fell silent is not abandoned")
	}
}
