package web

import (
	"fmt"
	"net/http"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
)

// verify reads all of a recording and says whether it is whole.
func (s *Server) verify(w http.ResponseWriter, r *http.Request, v *view) {
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer done()
	m, _ := rec.Manifest()
	report, err := s.lib.Verify(r.Context(), v.Session.Session, func(int) {})
	if err != nil {
		s.fail(w, err)
		return
	}
	verdict := verdictOf(report)
	if m != nil {
		if err := s.index.SetVerdict(r.Context(), v.Session.Session, identity(m), verdict); err != nil {
			s.fail(w, err)
			return
		}
	}
	writeJSON(w, http.StatusOK, verdict)
}

var verdictText = map[recording.Verdict]string{
	recording.OK:         "Every byte and every event is as the manifest says.",
	recording.Incomplete: "All that was recorded is here, but it is not the whole session.",
	recording.Mismatch:   "The recording is not what its manifest says.",
	recording.Truncated:  "The recording ends before its end.",
	recording.Corrupt:    "Bytes of the recording have changed.",
	recording.Missing:    "The recording, or its manifest, is not there.",
}

func verdictOf(r recording.Report) sessions.Verdict {
	v := sessions.Verdict{OK: r.Verdict == recording.OK, Verdict: string(r.Verdict), Text: verdictText[r.Verdict], Problems: r.Problems}
	if more := r.Found - len(r.Problems); more > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("and %d more", more))
	}
	return v
}
