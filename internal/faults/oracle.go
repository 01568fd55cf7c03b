package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// errPending: a recording is not finished yet.
var errPending = errors.New("not finished yet")

// A badError says what is wrong with a recording. Nothing mends it.
type badError struct{ why string }

func (e *badError) Error() string { return e.why }

func bad(format string, args ...any) error { return &badError{fmt.Sprintf(format, args...)} }

// check holds a finished recording against what was produced. It returns nil only
// for one that is whole: verified against its manifest, every event there once, in
// order and byte for byte, and nothing kept as late. A *badError is a verdict; any
// other error means that nothing is known yet.
func check(ctx context.Context, lib *recording.Library, s Session) error {
	info, err := lib.Find(ctx, s.ID)
	switch {
	case errors.Is(err, recording.ErrNotFound), errors.Is(err, s3store.ErrNotFound):
		return errPending
	case err != nil:
		return err
	case info.Status == recording.Lost:
		return bad("its parts are said to be lost")
	case info.Status != recording.Finished || info.Outcome == "":
		return errPending
	}
	rep, err := lib.Verify(ctx, s.ID, nil)
	if err != nil {
		return err
	}
	if rep.Verdict != recording.OK {
		return bad("verify says %s: %v", rep.Verdict, rep.Problems)
	}
	r, err := recording.OpenObject(ctx, lib.Store, s.ID)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	m, err := r.Manifest()
	if err != nil {
		return err
	}
	if err := checkManifest(m, s); err != nil {
		return err
	}
	return checkEvents(ctx, r, s)
}

func checkManifest(m *slicefmt.Manifest, s Session) error {
	switch {
	case m.Outcome != slicefmt.OutcomeComplete:
		return bad("outcome is %s", m.Outcome)
	case m.Events != s.Events || m.Count != s.Events:
		return bad("manifest says %d events of %d, produced were %d", m.Events, m.Count, s.Events)
	case m.Duplicates != 0 || m.Late != s.late || m.Missing != 0 || len(m.Gaps) != 0:
		return bad("%d duplicates, %d late, %d missing, %d gaps", m.Duplicates, m.Late, m.Missing, len(m.Gaps))
	}
	return nil
}

func checkEvents(ctx context.Context, r *recording.Recording, s Session) error {
	next := int64(0)
	for rec, err := range r.Records(ctx, recording.Range{}) {
		if err != nil {
			return err
		}
		if rec.Index != next {
			return bad("event %d is where %d belongs", rec.Index, next)
		}
		want, err := s.Event(next)
		if err != nil {
			return err
		}
		if !bytes.Equal(rec.OneOf, want) {
			return bad("event %d has other bytes than were produced", next)
		}
		next++
	}
	if next != s.Events {
		return bad("%d events are there, %d were produced", next, s.Events)
	}
	return nil
}
