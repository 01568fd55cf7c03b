package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestDoctorSaysWhenPartitionsNoLongerFit(t *testing.T) {
	const gib = 1 << 30
	quiet, busy := flow{100, 30_000}, flow{8000, 4 << 20}
	tests := []struct {
		name  string
		flows []flow
		room  int64
		want  []string
	}{
		{"nothing comes", []flow{{}, {}}, gib, []string{"ok    partitions: 2 fit"}},
		{"little comes", []flow{quiet, quiet}, gib, []string{"ok    partitions: 2 fit"}},
		{"all are busy", []flow{busy, busy}, 64 * gib, []string{"warn  partitions: partition 0 takes 80 %", "wants 4 partitions, and there are 2"}},
		{"one is busy", []flow{quiet, busy, quiet, quiet}, 64 * gib, []string{"warn  partitions: partition 1 takes 80 %", "4 partitions are enough"}},
		{"bytes count too", []flow{{100, 15 << 20}}, 64 * gib, []string{"warn  partitions: partition 0 takes 75 %"}},
		{"no room for an hour", []flow{{1000, 1 << 20}}, gib, []string{"ok    partitions: 1 fit", "warn  partitions: at what comes now partition 0 is full 17m04s after"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			room := make([]int64, len(tt.flows))
			for i := range room {
				room[i] = tt.room
			}
			var out bytes.Buffer
			fitOf(tt.flows, room).say(&examination{w: &out}, bus.Layout{Partitions: len(tt.flows)})
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			if n := strings.Count(out.String(), "\n"); n > 2 || n == 2 && !strings.Contains(tt.name, "no room") {
				t.Errorf("%d lines:\n%s", n, out.String())
			}
		})
	}
}

func TestFlowsAreOfWhatTheStreamHolds(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := jetstream.StreamState{Msgs: 1000, Bytes: 500_000, LastSeq: 1000, FirstTime: at, LastTime: at.Add(100 * time.Second)}
	if got := meanFlow(a); got != (flow{10, 5000}) {
		t.Errorf("mean %+v", got)
	}
	b := a
	b.LastSeq, b.Msgs, b.Bytes = 1500, 1500, 750_000
	if got := flowBetween(a, b, 5*time.Second); got != (flow{100, 50_000}) {
		t.Errorf("now %+v", got)
	}
	a.LastTime = at.Add(time.Second)
	if got := meanFlow(a); got != (flow{}) {
		t.Errorf("a mean of a second: %+v", got)
	}
}
