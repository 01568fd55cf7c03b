package export

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var begin = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func at(ms int64) *events.Metadata {
	return &events.Metadata{Time: timestamppb.New(begin.Add(time.Duration(ms) * time.Millisecond))}
}

// sequence gives events as a reader does: numbered, and in a buffer that the
// next one overwrites.
func sequence(t testing.TB, last error, all ...events.Event) iter.Seq2[slicefmt.Record, error] {
	t.Helper()
	var encoded [][]byte
	for i, e := range all {
		e.GetMetadata().Index = int64(i)
		one, err := events.Wrap(e)
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, b)
	}
	return func(yield func(slicefmt.Record, error) bool) {
		var buf []byte
		for _, b := range encoded {
			clear(buf)
			buf = append(buf[:0], b...)
			h, err := events.Scan(buf)
			if !yield(slicefmt.Record{OneOf: buf, Header: h}, err) {
				return
			}
		}
		if last != nil {
			yield(slicefmt.Record{}, last)
		}
	}
}

func session() []events.Event {
	return []events.Event{
		&events.SessionStart{Metadata: at(0), TerminalSize: "90:30", InitialCommand: []string{"vim", "x"}},
		&events.SessionJoin{Metadata: at(1)},
		&events.Resize{Metadata: at(2), TerminalSize: "91:31"},
		&events.SessionPrint{Metadata: at(10), Data: []byte("a\xe6\x9d"), ChunkIndex: 0},
		&events.SessionPrint{Metadata: at(1010), Data: []byte("\xb1\xffb<&\x1b[m"), DelayMilliseconds: 1000, ChunkIndex: 1, Offset: 3},
		&events.Resize{Metadata: at(1500), TerminalSize: "100:40"},
		&events.Resize{Metadata: at(1600), TerminalSize: "none"},
		&events.SessionPrint{Metadata: at(9000), Data: []byte("\xe6"), DelayMilliseconds: 2000, ChunkIndex: 2, Offset: 12}, // the clock was set
		&events.SessionEnd{Metadata: at(9001)},
	}
}

func export(t *testing.T, o Options, recs iter.Seq2[slicefmt.Record, error]) (string, Summary, error) {
	t.Helper()
	var b bytes.Buffer
	sum, err := Write(&b, recs, o)
	return b.String(), sum, err
}

func TestFormats(t *testing.T) {
	tests := []struct {
		format, want string
		sum          Summary
	}{
		{Cast2, `{"version":2,"width":90,"height":30,"timestamp":1714979289,"command":"vim x"}
[0.002, "r", "91x31"]
[0.01, "o", "a"]
[1.01, "o", "東` + "\ufffd" + `b<&\u001b[m"]
[1.5, "r", "100x40"]
[2.01, "o", "` + "\ufffd" + `"]
`, Summary{9, 2, 1}},
		{Cast3, `{"version":3,"term":{"cols":90,"rows":30},"timestamp":1714979289,"command":"vim x"}
[0.002, "r", "91x31"]
[0.008, "o", "a"]
[1.0, "o", "東` + "\ufffd" + `b<&\u001b[m"]
[0.49, "r", "100x40"]
[0.51, "o", "` + "\ufffd" + `"]
`, Summary{9, 2, 1}},
		{Text, "a東\xffb<&\x1b[m\xe6", Summary{9, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.format, func(t *testing.T) {
			got, sum, err := export(t, Options{Format: tt.format}, sequence(t, nil, session()...))
			// The last output event has nothing but an unfinished sequence: it is
			// written at the end, with the time of the last event written.
			want := strings.Replace(tt.want, `[2.01, "o"`, `[1.5, "o"`, 1)
			want = strings.Replace(want, `[0.51, "o"`, `[0.0, "o"`, 1)
			if err != nil || got != want || sum != tt.sum {
				t.Errorf("exported\n%s%+v, %v, want\n%s%+v", got, sum, err, want, tt.sum)
			}
		})
	}
}

func TestJSONAndRecordingHoldEveryEvent(t *testing.T) {
	var want [][]byte
	for rec := range sequence(t, nil, session()...) {
		want = append(want, slices.Clone(rec.OneOf))
	}
	text, _, err := export(t, Options{Format: JSON, WithData: true}, sequence(t, nil, session()...))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		one, err := events.UnmarshalJSON([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := events.Marshal(one); err != nil || !bytes.Equal(b, want[i]) {
			t.Errorf("event %d came back as %x, %v, want %x", i, b, err, want[i])
		}
	}
	if text, _, err := export(t, Options{Format: JSON}, sequence(t, nil, session()...)); err != nil || strings.Contains(text, `"data"`) {
		t.Errorf("without data: %v, %s", err, text)
	}

	raw, _, err := export(t, Options{Format: Recording}, sequence(t, nil, session()...))
	if err != nil {
		t.Fatal(err)
	}
	r := slicefmt.NewReader(strings.NewReader(raw))
	for i := range want {
		rec, err := r.Next()
		if err != nil || !bytes.Equal(rec.OneOf, want[i]) {
			t.Fatalf("record %d is %x, %v, want %x", i, rec.OneOf, err, want[i])
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last record: %v", err)
	}
}

var errDamaged = errors.New("damaged here")

func TestWhatCameBeforeAnErrorIsWritten(t *testing.T) {
	for _, format := range []string{Cast2, Cast3, Text, JSON, Recording} {
		whole, _, err := export(t, Options{Format: format}, sequence(t, nil, session()[:4]...))
		if err != nil {
			t.Fatal(err)
		}
		got, sum, err := export(t, Options{Format: format}, sequence(t, errDamaged, session()[:4]...))
		if !errors.Is(err, errDamaged) || got != whole || sum.Records != 4 {
			t.Errorf("%s: %q, %+v, %v, want %q", format, got, sum, err, whole)
		}
	}
}

func TestADesktopIsRefused(t *testing.T) {
	desktop := func() iter.Seq2[slicefmt.Record, error] {
		return sequence(t, nil, &events.WindowsDesktopSessionStart{Metadata: at(0)}, &events.DesktopRecording{Metadata: at(1), Message: []byte{2}})
	}
	for _, format := range []string{Cast2, Cast3, Text} {
		if _, _, err := export(t, Options{Format: format}, desktop()); !errors.Is(err, cast.ErrDesktop) {
			t.Errorf("%s: %v, want ErrDesktop", format, err)
		}
	}
	for _, format := range []string{JSON, Recording} {
		if _, _, err := export(t, Options{Format: format}, desktop()); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, _, err := export(t, Options{Format: "gif"}, desktop()); err == nil {
		t.Error("an unknown format was taken")
	}
}

func TestNoEventsAreAnEmptyExport(t *testing.T) {
	for format, want := range map[string]string{Cast2: `{"version":2,"width":80,"height":24}` + "\n", Text: "", JSON: "", Recording: ""} {
		if got, _, err := export(t, Options{Format: format}, sequence(t, nil)); err != nil || got != want {
			t.Errorf("%s: %q, %v", format, got, err)
		}
	}
}

func TestALargeRecordingGetsPartsThatS3Takes(t *testing.T) {
	noise := make([]byte, 60000)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	var all []events.Event
	for range 200 {
		all = append(all, &events.SessionPrint{Metadata: at(0), Data: noise})
		noise[len(all)] ^= 0xff
	}
	raw, _, err := export(t, Options{Format: Recording}, sequence(t, nil, all...))
	if err != nil {
		t.Fatal(err)
	}
	r := slicefmt.NewReader(strings.NewReader(raw))
	var sizes []int64
	r.OnPart(func(p slicefmt.PartInfo) { sizes = append(sizes, p.Size()) })
	for err == nil {
		_, err = r.Next()
	}
	if c := r.Counts(); !errors.Is(err, io.EOF) || c.Records != 200 || len(sizes) != 3 {
		t.Fatalf("%v, %+v, parts of %v", err, c, sizes)
	}
	for _, n := range sizes[:len(sizes)-1] {
		if n < slicefmt.MinPartSize {
			t.Errorf("a part has %d bytes", n)
		}
	}
}
