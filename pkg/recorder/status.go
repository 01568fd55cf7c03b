package recorder

import (
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A Status is how far S3 has a session.
type Status struct {
	// UploadID is that of the multipart upload; empty as long as none was begun.
	UploadID string
	// Index: every event up to it is in S3, in a committed part. -1 for none.
	Index int64
	// At is when the last part was uploaded.
	At time.Time
}

// Status returns what the slicer said last. It says so after each commit, to
// whoever listens at that moment: a session that was resumed knows nothing
// until the next one.
func (s *Session) Status() Status {
	if st := s.status.Load(); st != nil {
		return *st
	}
	return Status{Index: -1}
}

func (s *Session) onStatus(st *events.StreamStatus) {
	if old := s.status.Load(); old != nil && st.GetLastEventIndex() < old.Index {
		return // of an owner that was replaced
	}
	s.status.Store(&Status{
		UploadID: st.GetUploadId(),
		Index:    st.GetLastEventIndex(),
		At:       st.GetLastUploadTime().AsTime(),
	})
}
