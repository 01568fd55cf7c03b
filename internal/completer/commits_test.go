package completer

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Records of many sessions go into their logs once each, whether they travel together
// or, because one of them was overtaken, each by itself.
func TestManySessionsCommitAtOnce(t *testing.T) {
	for _, overtaken := range []int{0, 3} {
		t.Run(fmt.Sprintf("%d overtaken", overtaken), func(t *testing.T) {
			r := newRig(t)
			c := r.completer()
			const n = 40
			sids, prev := make([]string, n), make([]uint64, n)
			for i := range n {
				sids[i] = fmt.Sprintf("s%d", i)
				r.record(sids[i], shape{parts: []int{1}})
				last, err := uploadlog.ReadLast(t.Context(), r.conn, 0, sids[i])
				if err != nil {
					t.Fatal(err)
				}
				if prev[i] = last.Seq; i < overtaken {
					prev[i]--
				}
			}
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					seq, err := c.commits.append(t.Context(), uploadlog.Successor{SID: sids[i], Prev: prev[i],
						Record: uploadlog.Record{Kind: bus.KindCompleted, State: bus.SessionState{V: bus.LogVersion, SID: sids[i]}, Payload: []byte("{}")}})
					if i < overtaken {
						if !errors.Is(err, uploadlog.ErrMoved) {
							t.Errorf("session %d: %v, want ErrMoved", i, err)
						}
						return
					}
					last, rerr := uploadlog.ReadLast(t.Context(), r.conn, 0, sids[i])
					if err != nil || rerr != nil || last.Seq != seq || last.Kind != bus.KindCompleted || last.State.SID != sids[i] {
						t.Errorf("session %d: %v, %v, at %d: %+v", i, err, rerr, seq, last)
					}
				})
			}
			wg.Wait()
			for i, sid := range sids {
				log, err := uploadlog.ReadLog(t.Context(), r.conn, 0, sid)
				completed := 0
				for _, e := range log.Records {
					if e.Kind == bus.KindCompleted {
						completed++
					}
				}
				if want := min(1, max(0, i-overtaken+1)); err != nil || completed != want {
					t.Errorf("session %d: %d completed records, want %d (%v)", i, completed, want, err)
				}
			}
		})
	}
}

// Many sessions that end at once are all finished, and their logs shrink.
func TestManySessionsEndAtOnce(t *testing.T) {
	r := newRig(t)
	const n = 60
	for i := range n {
		r.record(fmt.Sprintf("s%d", i), shape{parts: []int{2}})
	}
	r.run(2)
	for i := range n {
		r.finished(fmt.Sprintf("s%d", i))
	}
}
