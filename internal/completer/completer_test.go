package completer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

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
