package slicer

import (
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
