package cast

import (
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var begin = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int64) *events.Metadata {
	return &events.Metadata{Time: timestamppb.New(begin.Add(time.Duration(ms) * time.Millisecond))}
}

func record(t testing.TB, e events.Event) slicefmt.Record {
	t.Helper()
	one, err := events.Wrap(e)
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	h, err := events.Scan(b)
	if err != nil {
		t.Fatal(err)
	}
	return slicefmt.Record{OneOf: b, Header: h}
}

func start(ms int64) events.Event {
	return &events.SessionStart{Metadata: at(ms), TerminalSize: "90:30"}
}

func printed(ms, delay int64) events.Event {
	return &events.SessionPrint{Metadata: at(ms), DelayMilliseconds: delay, Data: []byte(".")}
}

func resized(ms int64, size string) events.Event {
	return &events.Resize{Metadata: at(ms), TerminalSize: size}
}

func TestTimesOfDecodedEvents(t *testing.T) {
	tests := []struct {
		name string
		in   []events.Event
		want []int64 // milliseconds of prints and resizes
	}{
		{"from session.start on", []events.Event{start(1000), printed(1500, 0), printed(2500, 1000)}, []int64{500, 1500}},
		{"resizes between prints", []events.Event{start(0), resized(10, "1:1"), printed(100, 0), resized(150, "2:2"), printed(200, 100), resized(900, "3:3")}, []int64{10, 100, 150, 200, 900}},
		{"a clock set back", []events.Event{start(0), printed(100, 0), printed(-5000, 1000), resized(-4900, "1:1"), printed(-3000, 3000)}, []int64{100, 1100, 1200, 3100}},
		{"a clock set forward", []events.Event{start(0), printed(100, 0), printed(9000000, 1000), resized(9000100, "1:1"), printed(9002000, 3000)}, []int64{100, 1100, 1200, 3100}},
		{"a delay that goes back", []events.Event{start(0), printed(0, 0), printed(0, 500), printed(0, 400), printed(0, 600)}, []int64{0, 500, 500, 600}},
		{"a print before session.start", []events.Event{start(1000), printed(0, 0), printed(0, 50)}, []int64{0, 50}},
		{"no session.start: a range of a recording", []events.Event{printed(7000, 60000), printed(8000, 61000), resized(8500, "1:1")}, []int64{0, 1000, 1500}},
		{"other events before", []events.Event{&events.SessionJoin{Metadata: at(0)}, printed(2000, 0)}, []int64{2000}},
		{"delays that are nonsense", []events.Event{start(0), printed(0, -5), printed(0, math.MinInt64), printed(0, math.MaxInt64), printed(0, 1)},
			[]int64{0, 0, MaxTime.Milliseconds(), MaxTime.Milliseconds()}},
		{"times that are nonsense", []events.Event{&events.SessionStart{}, resized(0, "1:1"), printed(0, 0)}, []int64{MaxTime.Milliseconds(), MaxTime.Milliseconds()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			var got []int64
			for _, e := range tt.in {
				ev, ok, err := d.Decode(record(t, e))
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					got = append(got, ev.Time.Milliseconds())
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("times are %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Fatalf("times are %v, want %v", got, tt.want)
				}
			}
		})
	}
}

func TestDecodedEventsDoNotAliasTheRecord(t *testing.T) {
	var d Decoder
	rec := record(t, &events.SessionPrint{Metadata: at(0), Data: []byte("kept")})
	e, _, err := d.Decode(rec)
	clear(rec.OneOf)
	if err != nil || string(e.Data) != "kept" {
		t.Errorf("data is %q, %v", e.Data, err)
	}
}

func TestSizesAreCheckedAndDesktopsRefused(t *testing.T) {
	var d Decoder
	for _, size := range []string{"", "80", "80x24", "0:24", "-1:2", "70000:1"} {
		if _, ok, err := d.Decode(record(t, resized(0, size))); ok || err != nil {
			t.Errorf("%q was taken: %v", size, err)
		}
	}
	if h := d.Header(); d.BadResizes() != 6 || h.Width != 80 || h.Height != 24 {
		t.Errorf("%d bad resizes, header %+v", d.BadResizes(), h)
	}
	if _, _, err := d.Decode(record(t, start(0))); err != nil || d.Header().Width != 90 {
		t.Errorf("header is %+v, %v", d.Header(), err)
	}
	for _, e := range []events.Event{
		&events.WindowsDesktopSessionStart{}, &events.LinuxDesktopSessionStart{}, &events.DesktopRecording{},
	} {
		if _, _, err := d.Decode(record(t, e)); !errors.Is(err, ErrDesktop) {
			t.Errorf("%T: %v, want ErrDesktop", e, err)
		}
	}
}
