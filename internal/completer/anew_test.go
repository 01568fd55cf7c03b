package completer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestAForgottenUploadIsMadeAnewFromTheBus(t *testing.T) {
	tests := []struct {
		name  string
		fault func(string, int) (bool, error)
	}{
		{"nothing else", nil},
		{"create refused", on("create", 1, false)},
		{"create done, reply lost", on("create", 1, true)},
		{"second part refused", on("putpart", 2, false)},
		{"second part stored, reply lost", on("putpart", 2, true)},
		{"complete refused", on("complete", 2, false)},
		{"complete done, reply lost", on("complete", 2, true)},
	}
	r := newRig(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := *r
			r.t = t
			sid := fmt.Sprintf("s%d", i)
			s := r.record(sid, big)
			if err := r.real.AbortUpload(t.Context(), s.state.Upload.Key, s.state.Upload.ID); err != nil {
				t.Fatal(err)
			}
			r.store = &faulty{ObjectStore: r.real, fault: tt.fault}
			c := r.completer()
			_, err := c.advance(t.Context(), 0, sid, true)
			if tt.fault != nil {
				if !errors.Is(err, errInjected) {
					t.Fatalf("%v, want the injected one", err)
				}
				_, err = c.advance(t.Context(), 0, sid, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.whole(s)
		})
	}
}

// What the slicer has refused is no part of the recording, and nothing that the recording
// could be lost for.
func TestWhatWasRefusedIsLeftOutWhenUploadedAnew(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{2})
	strange := func(index int64) []byte { return event(t, "s1", index, false, 10, rnd) }
	sh := big
	sh.beside = map[int64]func(*rig, string){
		3:   func(r *rig, sid string) { r.raw("n1", sid, nil, nats.Header{bus.HeaderControl: {"hold my beer"}}) },
		5:   func(r *rig, sid string) { r.raw("n1", sid, []byte("no event"), nil) },
		7:   func(r *rig, sid string) { r.raw("n1", sid, strange(7), nats.Header{bus.HeaderVersion: {"99"}}) },
		9:   func(r *rig, sid string) { r.raw("no@de", sid, strange(9), nil) },
		11:  func(r *rig, sid string) { r.raw("n2", sid, strange(11), nil) },
		13:  func(r *rig, sid string) { r.raw("n1", sid, strange(slicefmt.MaxIndex+1), nil) },
		15:  func(r *rig, sid string) { r.raw("n1", sid, strange(-1), nil) },
		112: func(r *rig, sid string) { r.raw("n1", sid, strange(50), nil) },
		114: func(r *rig, sid string) {
			large := event(t, "s1", 114, false, slicefmt.MaxRecord, rnd)
			r.raw("n1", sid, large, nil)
		},
	}
	r := newRig(t)
	s := r.record("s1", sh)
	if err := r.real.AbortUpload(t.Context(), s.state.Upload.Key, s.state.Upload.ID); err != nil {
		t.Fatal(err)
	}
	if result, err := r.completer().advance(t.Context(), 0, "s1", true); err != nil || result != resultDone {
		t.Fatalf("%s, %v; want done", result, err)
	}
	r.whole(s)
}

func TestPartsThatAreNowhereAnyMoreAreLost(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, r *rig, s *session)
	}{
		{"the bus has trimmed the beginning", func(t *testing.T, r *rig, s *session) {
			purge(t, r, s.parts[0].FirstSeq+1)
		}},
		{"the bus has trimmed all of it", func(t *testing.T, r *rig, s *session) { purge(t, r, s.parts[2].LastSeq+1) }},
		{"a message is missing in the middle", func(t *testing.T, r *rig, s *session) {
			st, err := r.conn.JetStream().Stream(t.Context(), bus.EventStream(0))
			if err != nil {
				t.Fatal(err)
			}
			if err := st.DeleteMsg(t.Context(), s.parts[1].FirstSeq+3); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			s := r.record("s1", big)
			if err := r.real.AbortUpload(t.Context(), s.state.Upload.Key, s.state.Upload.ID); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, r, s)
			for range 2 {
				if result, err := r.completer().advance(t.Context(), 0, "s1", true); err != nil || result != resultLost {
					t.Fatalf("%s, %v; want lost", result, err)
				}
			}
			last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "s1")
			if err != nil || last.Kind != bus.KindLost || !strings.Contains(string(last.Payload), "upload is gone") {
				t.Fatalf("log ends with %s %s, %v", last.Kind, last.Payload, err)
			}
			if n := r.told("tapedeck.notify.recording.failed", "s1"); n != 1 {
				t.Fatalf("%d notifications of the failure", n)
			}
			if _, err := r.real.Head(t.Context(), "rec/s1.manifest.json"); !errors.Is(err, s3store.ErrNotFound) {
				t.Fatalf("manifest: %v, want ErrNotFound", err)
			}
			for up := range r.real.ListUploads(t.Context(), "") {
				t.Errorf("upload %+v is left", up)
			}
		})
	}
}

// An object under the session's key that is another's, or that a store left which broke
// off while it completed the upload: with the session's nonce, and few of its bytes.
func TestAnObjectThatIsInTheWayWaitsForAPerson(t *testing.T) {
	tests := []struct {
		name, nonce, want string
		uploadStays       bool
	}{
		{"not whole, the upload is gone", "nonce-0", "is not whole: it has 3 bytes of", false},
		{"not whole, the upload is there", "nonce-0", "is not whole: it has 3 bytes of", true},
		{"another's, the upload is gone", "another", `is not ours: 3 bytes with nonce "another"`, false},
		{"another's, the upload is there", "another", `is not ours: 3 bytes with nonce "another"`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			s := r.record("s1", big)
			up := s.state.Upload
			if !tt.uploadStays {
				if err := r.real.AbortUpload(t.Context(), up.Key, up.ID); err != nil {
					t.Fatal(err)
				}
			}
			r.putWithNonce(up.Key, tt.nonce, []byte("few"))
			for range 2 {
				result, err := r.completer().advance(t.Context(), 0, "s1", true)
				if !isAlarm(err) || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%s, %v; want an alarm that says %q", result, err, tt.want)
				}
			}
			if got := string(r.object("s1.tar")); got != "few" {
				t.Fatalf("the object is now %d bytes", len(got))
			}
			if err := r.real.Delete(t.Context(), up.Key); err != nil {
				t.Fatal(err)
			}
			if result, err := r.completer().advance(t.Context(), 0, "s1", true); err != nil || result != resultDone {
				t.Fatalf("%s, %v; want done", result, err)
			}
			r.whole(s)
		})
	}
}

// putWithNonce makes an object as an upload with that nonce would.
func (r *rig) putWithNonce(key, nonce string, body []byte) {
	r.t.Helper()
	id, err := r.real.CreateUpload(r.t.Context(), key, map[string]string{bus.MetaNonce: nonce})
	if err != nil {
		r.t.Fatal(err)
	}
	part, err := r.real.PutPart(r.t.Context(), key, id, 1, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.real.CompleteUpload(r.t.Context(), key, id, []s3store.Part{part}); err != nil {
		r.t.Fatal(err)
	}
}

func purge(t *testing.T, r *rig, upTo uint64) {
	t.Helper()
	st, err := r.conn.JetStream().Stream(t.Context(), bus.EventStream(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(upTo)); err != nil {
		t.Fatal(err)
	}
}
