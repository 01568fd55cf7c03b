//go:build compose

package compose

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// A traffic records sessions until it is stopped, and knows what went into each.
type traffic struct {
	mu   sync.Mutex
	sums map[string][]byte // of the printed bytes, by session; only those that the bus has accepted whole
	errs []error
}

// record keeps n sessions going on node demo, each of some seconds.
func (s *composed) record(n int) (*traffic, func()) {
	s.t.Helper()
	conn := s.connect("producer-demo")
	layout, err := bus.Inspect(s.t.Context(), conn)
	if err != nil {
		s.t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "demo"})
	if err != nil {
		s.t.Fatal(err)
	}
	publishAccess(s.t, conn) // which a sink has a minute later
	tr := &traffic{sums: map[string][]byte{}}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-quit:
					return
				default:
				}
				tr.one(s.t.Context(), rec, 20+13*((i+k)%12))
			}
		})
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			close(quit)
			wg.Wait()
		})
	}
	s.t.Cleanup(stop)
	return tr, stop
}

func (tr *traffic) one(ctx context.Context, rec *recorder.Recorder, lines int) {
	sid, sum := uuid.NewString(), sha256.New()
	ses, err := rec.Start(ctx, recorder.Spec{ID: sid, User: "joe", Login: "root", Width: 80, Height: 24})
	for i := 0; i < lines && err == nil; i++ {
		line := fmt.Sprintf("%s %d %s\r\n", sid, i, uuid.NewString())
		if _, err = ses.Write([]byte(line)); err == nil {
			sum.Write([]byte(line))
		}
		time.Sleep(40 * time.Millisecond)
	}
	if err == nil {
		err = ses.End(ctx)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err != nil {
		tr.errs = append(tr.errs, fmt.Errorf("session %s: %w", sid, err))
		return
	}
	tr.sums[sid] = sum.Sum(nil)
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.sums)
}

// verify checks every byte of every recording against its manifest, and what was
// recorded here against what went in.
func (s *composed) verify(lib *recording.Library, tr *traffic, demo string) {
	s.t.Helper()
	for _, err := range tr.errs {
		s.t.Error(err)
	}
	begin, lost, demos := time.Now(), 0, 0
	sids := slices.Collect(maps.Keys(tr.sums))
	for info, err := range lib.List(s.t.Context(), recording.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if tr.sums[info.Session] == nil {
			demos++
			sids = append(sids, info.Session)
		}
	}
	if demos == 0 {
		s.t.Errorf("service %s recorded no session", demo)
	}
	for _, sid := range sids {
		if err := finishedWhole(s.t.Context(), lib, sid, tr.sums[sid], begin.Add(2*time.Minute)); err != nil {
			lost++
			s.t.Errorf("session %s: %v", sid, err)
		}
	}
	if len(tr.sums) < 10 {
		s.t.Errorf("only %d sessions were recorded", len(tr.sums))
	}
	fmt.Printf("stopped while recording: %s\n%d recordings verified, %d lost (%d of them of the demo's, all finished %s after the end)\n",
		strings.Join(s.stopped, "; "), len(sids)-lost, lost, demos, time.Since(begin).Round(time.Second))
}

func finishedWhole(ctx context.Context, lib *recording.Library, sid string, want []byte, deadline time.Time) error {
	for {
		rep, err := lib.Verify(ctx, sid, nil)
		if err == nil && rep.Verdict == recording.OK {
			break
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: %q", rep.Verdict, rep.Problems), err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	rec, err := lib.Open(ctx, sid)
	if err != nil || want == nil {
		return err
	}
	defer func() { _ = rec.Close() }()
	sum := sha256.New()
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err == nil {
			err = addPrint(sum, r.OneOf)
		}
		if err != nil {
			return err
		}
	}
	if got := sum.Sum(nil); string(got) != string(want) {
		return errors.New("what was printed is not what was recorded")
	}
	return nil
}

func addPrint(sum hash.Hash, oneof []byte) error {
	o, err := events.Unmarshal(oneof)
	if err != nil {
		return err
	}
	sum.Write(o.GetSessionPrint().GetData())
	return nil
}
