package web

import "net/http"

// screen sends what was on the screen at a time, if the recording has an index.
func (s *Server) screen(w http.ResponseWriter, _ *http.Request, _ *view) {
	s.fail(w, &problem{http.StatusNotFound, "no_keyframe", "There is no index of this recording: begin at its start."})
}
