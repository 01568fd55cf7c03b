package completer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func TestAHoleIsNeverCompleted(t *testing.T) {
	tests := []struct {
		name   string
		change func(s *session)
	}{
		{"a part is not in the log", func(s *session) { s.log = append(s.log[:2:2], s.log[3:]...) }},
		{"the first part is not in the log", func(s *session) { s.log = append(s.log[:1:1], s.log[2:]...) }},
		{"the count is higher than the last event", func(s *session) { s.ended.Count++ }},
		{"the count is lower than the last event", func(s *session) { s.ended.Count-- }},
		{"more events are said than the parts have", func(s *session) { s.ended.Events++ }},
		{"parts change places", func(s *session) { s.log[1], s.log[2] = s.log[2], s.log[1] }},
		{"the log admits more than is missing", func(s *session) { s.state.Missing = 3 }},
		{"a part record is not readable", func(s *session) { s.log[1].Payload = []byte("{") }},
	}
	r := newRig(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := *r
			r.t = t
			sid := fmt.Sprintf("s%d", i)
			s := r.prepare(sid, shape{parts: []int{6, 6, 6, 2}})
			tt.change(s)
			r.write(s)
			if _, err := r.completer().advance(t.Context(), 0, sid, true); !isAlarm(err) {
				t.Fatalf("%v, want an alarm", err)
			}
			if _, err := r.real.Head(t.Context(), r.real.Key(sid+".tar")); !errors.Is(err, s3store.ErrNotFound) {
				t.Fatalf("object: %v, want ErrNotFound", err)
			}
		})
	}
}

func TestPartsOfAnEarlierUploadAreNotInTheRecording(t *testing.T) {
	r := newRig(t)
	forgotten := r.prepare("s1", shape{parts: []int{110, 3}, noise: 50_000})
	s := r.prepare("s1", shape{parts: []int{110, 50}, noise: 50_000})
	s.log = append(forgotten.log, s.log...)
	r.write(s)
	if _, err := r.completer().advance(t.Context(), 0, "s1", true); err != nil {
		t.Fatal(err)
	}
	r.whole(s)
}

func TestAPartRecordStoredTwiceIsOnePart(t *testing.T) {
	r := newRig(t)
	s := r.prepare("s1", big)
	s.log = append(s.log[:2:2], s.log[1:]...)
	r.write(s)
	if _, err := r.completer().advance(t.Context(), 0, "s1", true); err != nil {
		t.Fatal(err)
	}
	r.whole(s)
}

func TestAPartWithAnotherETagIsTakenOnlyIfItIsTheSame(t *testing.T) {
	r := newRig(t)
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprintf("same bytes %v", same), func(t *testing.T) {
			r := *r
			r.t = t
			sid := fmt.Sprintf("s-%v", same)
			s := r.prepare(sid, shape{parts: []int{4}})
			s.parts[0].ETag = strings.Repeat("0", 32)
			if !same {
				s.parts[0].Checksum = "crc64nvme:AAAAAAAAAAA="
			}
			r.write(s)
			_, err := r.completer().advance(t.Context(), 0, sid, true)
			if same {
				if err != nil {
					t.Fatal(err)
				}
				r.whole(s)
				return
			}
			if !isAlarm(err) {
				t.Fatalf("%v, want an alarm", err)
			}
		})
	}
}
