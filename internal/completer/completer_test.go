package completer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// big makes parts of more than 5 MiB: 110 prints of 50 kB that do not compress.
var big = shape{parts: []int{110, 110, 5}, noise: 50_000}

func TestASessionBecomesARecordingWithAManifest(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", shape{parts: []int{10}})
	r.run(1)
	r.finished("s1")
	m := r.whole(s)
	want := slicefmt.Metadata{Kind: "ssh", User: "alice", Login: "root", Hostname: "web-1", ServerID: "id-1", Addr: "10.0.0.1:22",
		Cluster: "c1", Start: at(0), End: at(9), Size: "80:25", Participants: []string{"alice", "bob"}}
	if fmt.Sprintf("%+v", m.Metadata) != fmt.Sprintf("%+v", want) {
		t.Errorf("metadata %+v\nwant %+v", m.Metadata, want)
	}
	if m.Types["print"] != 8 || m.Types["session.start"] != 1 || m.Outcome != bus.OutcomeComplete || m.Count != 10 {
		t.Errorf("manifest: %+v", m)
	}
}

func TestSessionUploadAndTheNotificationSayWhatWasMade(t *testing.T) {
	r := newRig(t)
	r.record("s1", shape{parts: []int{3}})
	r.run(1)
	r.finished("s1")
	audit, notes := r.messages("tapedeck.audit.session.upload"), r.messages("tapedeck.notify.recording.completed")
	if len(audit) != 1 || len(notes) != 1 {
		t.Fatalf("%d session.upload, %d notifications", len(audit), len(notes))
	}
	o, err := events.Unmarshal(audit[0].Data())
	if err != nil {
		t.Fatal(err)
	}
	e := o.GetSessionUpload()
	if e.GetMetadata().GetIndex() != 2147483647 || e.GetMetadata().GetCode() != "T2005I" || e.GetSession().GetSessionId() != "s1" ||
		e.GetSessionUrl() != "s3://"+r.bucket+"/rec/s1.tar" {
		t.Errorf("session.upload: %v", e)
	}
	var n Notification
	if err := json.Unmarshal(notes[0].Data(), &n); err != nil {
		t.Fatal(err)
	}
	if n.Session != "s1" || n.Key != "rec/s1.tar" || n.Manifest != "rec/s1.manifest.json" || n.Events != 3 ||
		!strings.HasPrefix(n.ID, "s1/") || n.ID != notes[0].Headers().Get(HeaderID) || n.ID != audit[0].Headers().Get(HeaderID) {
		t.Errorf("notification: %+v", n)
	}
}

func TestAManyPartSessionWithGapsIsWhole(t *testing.T) {
	r := newRig(t)
	sh := big
	sh.skip, sh.outcome = []int{5, 110, 111, 200}, bus.OutcomeGapped
	s := r.record("s1", sh)
	r.run(1)
	r.finished("s1")
	if m := r.whole(s); m.Missing != 4 || m.GapCount != 4 || m.Outcome != bus.OutcomeGapped || m.Metadata.Participants == nil {
		t.Errorf("manifest: %d missing, %d gaps, %s, %+v", m.Missing, m.GapCount, m.Outcome, m.Metadata)
	}
}

func TestASessionWithoutEventsHasAManifestOnly(t *testing.T) {
	for _, upload := range []bool{false, true} {
		t.Run(fmt.Sprintf("upload made %v", upload), func(t *testing.T) {
			r := newRig(t)
			s := r.prepare("s1", shape{})
			if upload {
				s.begin(r)
			}
			r.write(s)
			r.run(1)
			r.finished("s1")
			if m := r.manifest("s1"); m.Key != "" || m.Events != 0 || len(m.Parts) != 0 {
				t.Errorf("manifest: %+v", m)
			}
			if _, err := r.real.Head(t.Context(), "rec/s1.tar"); !errors.Is(err, s3store.ErrNotFound) {
				t.Errorf("object: %v, want ErrNotFound", err)
			}
			for up := range r.real.ListUploads(t.Context(), "") {
				t.Errorf("upload %+v is left", up)
			}
			if n := r.told("tapedeck.notify.recording.completed", "s1"); n != 1 {
				t.Errorf("%d notifications", n)
			}
		})
	}
}

// Each write of a session's completion, refused once and then done once with its
// reply lost. Whatever breaks, the recording is whole in the end.
func TestEveryWriteMayFailEitherWay(t *testing.T) {
	steps := []string{"complete", "put", "get", "commit completed", "publish tapedeck.audit.session.upload",
		"publish tapedeck.notify.recording.completed", "commit notified", "shrink", "commit notified with ttl", "delete"}
	r := newRig(t)
	for i, step := range steps {
		for _, done := range []bool{false, true} {
			name := step + ", refused"
			if done {
				name = step + ", reply lost"
			}
			t.Run(name, func(t *testing.T) {
				r := *r
				r.t = t
				sid := fmt.Sprintf("s%d-%v", i, done)
				hit := 0
				fault := func(s string, write func() error) error {
					if s != step || hit > 0 {
						return write()
					}
					hit++
					if done {
						if err := write(); err != nil {
							t.Errorf("the write that should be done: %v", err)
						}
					}
					return errInjected
				}
				s := r.record(sid, shape{parts: []int{4}})
				r.store = &faulty{ObjectStore: r.real, fault: on(step, 1, done)}
				c := r.completer()
				c.fault = fault
				tries := 0
				for ; tries < 5; tries++ {
					result, err := c.advance(t.Context(), 0, sid, true)
					if err == nil && result == resultDone {
						break
					}
					if !errors.Is(err, errInjected) {
						t.Fatalf("try %d: %s, %v", tries, result, err)
					}
				}
				if hit == 0 && r.store.calls[step] == 0 {
					t.Fatalf("the fault was not met")
				}
				if tries > 1 {
					t.Errorf("%d tries failed, want one at most", tries)
				}
				r.whole(s)
				r.finished(sid)
			})
		}
	}
}

func TestAKeyThatIsTakenIsNeverOverwritten(t *testing.T) {
	r := newRig(t)
	r.record("s1", shape{parts: []int{4}})
	if err := r.real.Put(t.Context(), "rec/s1.tar", []byte("another"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.completer().advance(t.Context(), 0, "s1", true); !isAlarm(err) {
		t.Fatalf("%v, want an alarm", err)
	}
	if got := string(r.object("s1.tar")); got != "another" {
		t.Fatalf("the object is now %d bytes", len(got))
	}
	if last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "s1"); err != nil || last.Kind != bus.KindEnded {
		t.Fatalf("log ends with %s, %v", last.Kind, err)
	}
}

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
		{"another object has the key", func(t *testing.T, r *rig, s *session) {
			if err := r.real.Put(t.Context(), s.state.Upload.Key, []byte("another"), false); err != nil {
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

func TestReplicasShareTheWorkAndAgree(t *testing.T) {
	r := newRig(t)
	var all []*session
	for i := range 30 {
		all = append(all, r.record(fmt.Sprintf("s%d", i), shape{parts: []int{1 + i}}))
	}
	r.run(3)
	for _, s := range all {
		r.finished(s.sid)
		r.whole(s)
	}
}

// Several completers at the same session at the same time: they race at every step.
func TestCompletersMayRaceForOneSession(t *testing.T) {
	r := newRig(t)
	for round := range 5 {
		s := r.record(fmt.Sprintf("s%d", round), shape{parts: []int{5}})
		var wg sync.WaitGroup
		for range 4 {
			c := r.completer()
			wg.Go(func() {
				// One that meets another in the middle of its work tries again.
				for range 10 {
					_, err := c.advance(t.Context(), 0, s.sid, true)
					if err == nil || errors.Is(err, uploadlog.ErrNotFound) {
						return
					}
					if isAlarm(err) {
						t.Errorf("round %d: %v", round, err)
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Errorf("round %d: no end", round)
			})
		}
		wg.Wait()
		r.finished(s.sid)
		r.whole(s)
	}
}

func TestASessionThatFailsHoldsUpNoOther(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		s := r.prepare(fmt.Sprintf("bad%d", i), shape{parts: []int{3}})
		s.ended.Count++
		r.write(s)
	}
	s := r.record("good", shape{parts: []int{3}})
	r.run(1)
	r.finished("good")
	r.whole(s)
}

// Without the consumer, and for whatever it lost, there is the sweep.
func TestTheSweepFindsWhatTheConsumerDoesNot(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", shape{parts: []int{3}})
	open := r.prepare("open", shape{parts: []int{3}})
	if _, err := uploadlog.CompareAndAppend(t.Context(), r.conn, 0, "open", 0, open.log[0]); err != nil {
		t.Fatal(err)
	}
	c := r.completer()
	c.cfg.Sweep = time.Nanosecond
	c.sweep(t.Context(), t.Context())
	r.finished("s1")
	r.whole(s)
	if last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "open"); err != nil || last.Kind != bus.KindBase {
		t.Fatalf("the open session's log ends with %s, %v", last.Kind, err)
	}
}

// A completer that may go on for a while looks at the session once more when a step
// fails, since the log has moved on; one that may not is cut short. Both stop.
func TestStopInTheMiddleAndGoOn(t *testing.T) {
	for _, drain := range []time.Duration{0, time.Minute} {
		t.Run(drain.String(), func(t *testing.T) {
			r := newRig(t)
			s := r.record("s1", shape{parts: []int{3}})
			reached := make(chan struct{})
			reach := sync.OnceFunc(func() { close(reached) })
			ctx, cancel := context.WithCancel(t.Context())
			c := r.completer()
			c.cfg.Drain = drain
			c.fault = func(step string, write func() error) error {
				if step == "commit notified" {
					reach()
					<-ctx.Done()
					return ctx.Err()
				}
				return write()
			}
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			<-reached
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			r.run(1)
			r.finished("s1")
			r.whole(s)
		})
	}
}

func TestOrphanedUploadsAreAbortedAndOthersAreNot(t *testing.T) {
	r := newRig(t)
	create := func(key string) string {
		id, err := r.real.CreateUpload(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	s := r.prepare("known", shape{parts: []int{3}})
	if _, err := uploadlog.CompareAndAppend(t.Context(), r.conn, 0, "known", 0, s.log[0]); err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{
		s.state.Upload.ID: true, create("elsewhere/s1.tar"): true, create("rec/other-thing"): true, create("rec/a/b.tar"): true,
	}
	gone := []string{create("rec/unknown.tar"), create("rec/known.tar")}
	c := r.completer()
	c.abortOrphans(t.Context())
	if n := uploads(r, keep); n != len(keep)+len(gone) {
		t.Fatalf("%d uploads after a sweep of young ones, want %d", n, len(keep)+len(gone))
	}
	c.cfg.OrphanAge = 0
	c.abortOrphans(t.Context())
	if n := uploads(r, keep); n != len(keep) {
		t.Fatalf("%d uploads left, want %d", n, len(keep))
	}
	for _, id := range gone {
		if _, err := r.real.ListParts(t.Context(), "rec/unknown.tar", id); !errors.Is(err, s3store.ErrUploadGone) {
			t.Errorf("orphan: %v, want ErrUploadGone", err)
		}
	}
}

func uploads(r *rig, keep map[string]bool) (n int) {
	r.t.Helper()
	found := 0
	for up, err := range r.real.ListUploads(r.t.Context(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
		if keep[up.ID] {
			found++
		}
	}
	if found != len(keep) {
		r.t.Fatalf("%d of %d uploads to be kept are there", found, len(keep))
	}
	return n
}

func TestAnAbandonedSessionIsToldAsSuch(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", shape{parts: []int{3}, outcome: bus.OutcomeAbandoned})
	r.run(1)
	r.finished("s1")
	if m := r.whole(s); m.Outcome != bus.OutcomeAbandoned {
		t.Errorf("outcome %s", m.Outcome)
	}
	if n := r.told("tapedeck.notify.recording.abandoned", "s1"); n != 1 {
		t.Errorf("%d notifications", n)
	}
}

func TestAManifestIsTheSameBytesEachTime(t *testing.T) {
	r := newRig(t)
	s := r.record("s1", big)
	c := r.completer()
	log, err := uploadlog.ReadLog(t.Context(), r.conn, 0, s.sid)
	if err != nil {
		t.Fatal(err)
	}
	var before string
	for range 2 {
		pl, err := newPlan(log)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := c.object(t.Context(), pl)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.putManifest(t.Context(), pl, obj); err != nil {
			t.Fatal(err)
		}
		now := string(r.object("s1.manifest.json"))
		if before != "" && now != before {
			t.Fatal("the second manifest differs")
		}
		before = now
	}
}

// What an event says of itself is the producer's to choose. None of it may keep a
// recording from being finished, or make its manifest larger than readers take.
func TestEventsThatSayStrangeThingsOfThemselves(t *testing.T) {
	typed := func(index int64, typ string) []byte {
		o, err := events.Wrap(&events.SessionPrint{Metadata: &events.Metadata{Index: index, Type: typ}, Data: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := newRig(t)
	s := r.prepare("s1", shape{})
	s.begin(r)
	var slice slicefmt.Slice
	add := func(oneof []byte) {
		s.oneofs = append(s.oneofs, oneof)
		if err := slice.Append(oneof); err != nil {
			t.Fatal(err)
		}
	}
	add(event(t, "s1", 0, false, 0, nil))
	for i := int64(1); i <= 3000; i++ {
		typ := fmt.Sprintf("type-%d", i)
		if i%100 == 0 {
			typ += strings.Repeat("-", 50_000)
		}
		add(typed(i, typ))
	}
	s.put(r, &slice, bus.PartRecord{Number: 1, Last: 3000})
	s.state.Next, s.state.Events = 3001, 3001
	s.ended = bus.EndedRecord{Outcome: bus.OutcomeComplete, Count: 3001, Events: 3001, At: at(1)}
	r.write(s)
	r.run(1)
	r.finished("s1")
	m := r.manifest("s1")
	var sum int64
	for typ, n := range m.Types {
		if sum += n; len(typ) > 64 {
			t.Errorf("a type of %d bytes", len(typ))
		}
	}
	if sum != 3001 || len(m.Types) > 1001 || m.Events != 3001 {
		t.Errorf("%d events of %d types are %d", m.Events, len(m.Types), sum)
	}
}

// A session whose log has gone by its time to live can come back: its producer was
// asleep, and says that it is alive. What was recorded of it stays as it is.
func TestAnEchoOfAFinishedSessionChangesNothing(t *testing.T) {
	r := newRig(t)
	r.record("s1", shape{parts: []int{5}})
	stop := r.run(1)
	r.finished("s1")
	stop()
	before := string(r.object("s1.manifest.json"))
	last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, "s1")
	if err != nil {
		t.Fatal(err)
	}
	if err := uploadlog.Delete(t.Context(), r.conn, last.Seq); err != nil {
		t.Fatal(err)
	}
	s := r.prepare("s1", shape{outcome: bus.OutcomeAbandoned})
	r.write(s)
	r.run(1)
	r.finished("s1")
	if string(r.object("s1.manifest.json")) != before {
		t.Error("the recording's manifest was replaced")
	}
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{OrphanSweep: 1}.Validate()
	for _, want := range []string{"concurrency", "sweep", "retry-max", "keep-time", "orphan-age", "orphan-sweep"} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("%v does not say what is wrong with %s", err, want)
		}
	}
	if _, err := New(DefaultConfig(), Deps{}); err == nil {
		t.Error("a completer without a store was made")
	}
}
