package completer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

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
