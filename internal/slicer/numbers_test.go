package slicer

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// After very many owners a session's upload has no part numbers left. It is then
// recorded anew, and holds up nobody.
func TestNumbersRunOut(t *testing.T) {
	r := newRig(t, 1)
	n := r.start()
	p, other := r.session("many-owners"), r.session("other")
	p.prints(150, 40<<10)
	within(t, 30*time.Second, "a part", func() bool {
		log := r.entries(p.sid)
		return len(log) > 0 && log[len(log)-1].State.Upload.Parts == 1
	})
	n.leave()
	// As if two thousand had owned it.
	log := r.entries(p.sid)
	st := log[len(log)-1].State
	if len(st.Slices) > 0 {
		t.Fatal("the newest record is not the part's")
	}
	owner, err := uploadlog.Claim(t.Context(), r.conn, 0, "an owner long ago", nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := owner.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st = loaded.Sessions[p.sid].State
	first := st.Upload.ID
	st.Upload.Base = maxPartNumber - 1
	for i := range st.Slices {
		st.Slices[i].Seq = loaded.Sessions[p.sid].Seq
	}
	if _, err := owner.Append(t.Context(), uploadlog.Record{Kind: bus.KindBase, State: st}); err != nil {
		t.Fatal(err)
	}
	if err := owner.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.start()
	p.prints(900, 40<<10)
	other.prints(10, 1000)
	other.end()
	other.verify()
	p.end()
	if res := p.verify(); res.state.Upload.ID == first || res.parts[0].Number != 1 {
		t.Errorf("upload %q begins with part %d, want a new one that begins with 1", res.state.Upload.ID, res.parts[0].Number)
	}
}

// A recording that has filled an upload with parts would only fill another.
func TestRecordingThatIsTooLongIsNotBegunAgainForEver(t *testing.T) {
	p := newPartition(t.Context(), &shared{cfg: DefaultConfig(), deps: Deps{Log: slog.New(slog.DiscardHandler)}}, 0, nil)
	s := newSession(0, "long")
	s.dur.Upload = &bus.UploadState{ID: "u", Base: 1, Highest: maxPartNumber, Parts: maxPartNumber - 3, Bytes: 600 << 30}
	x := s.needIO()
	x.gone, x.full = true, true
	p.restart(s)
	if x.lost == "" || x.checking {
		t.Errorf("it is looked for once more (%t), and not said to be lost (%q)", x.checking, x.lost)
	}
}

// While a session is to be recorded anew, its first events stay on the bus.
func TestNothingIsTrimmedThatIsToBeReadAgain(t *testing.T) {
	p := newPartition(t.Context(), &shared{deps: Deps{Log: slog.New(slog.DiscardHandler)}}, 0, nil)
	p.cursor = 100
	want := func(what string, seq uint64) {
		t.Helper()
		p.setTrimmable()
		if got := p.trimmable.Load(); got != seq {
			t.Errorf("%s: trimmed up to %d, want %d", what, got, seq)
		}
	}
	want("all is durable", 100)
	p.starting = 1
	want("a first event is looked for", 0)
	p.starting = 0
	s := newSession(0, "anew")
	s.dur.StreamSeq = 90 // its new upload is not in the log yet
	p.rewinding[s] = &rewind{from: 1, until: 90}
	want("it starts over", 0)
	s.live.StreamSeq, s.dur.StreamSeq = 60, 50
	want("parts of it are committed", 50)
}

func TestFewerPartsAtOnceAsNumbersRunOut(t *testing.T) {
	c := DefaultConfig()
	owners, u := 0, (*bus.UploadState)(nil)
	for ; newBase(u) <= maxPartNumber; owners++ {
		base := newBase(u)
		u = &bus.UploadState{Base: base, Highest: base, Limit: c.uploadsFrom(base)} // each commits one part
	}
	if owners < 2500 {
		t.Errorf("numbers last for %d owners", owners)
	}
}
