package web

import "time"

// Routes are the patterns of all handlers.
func Routes() []string {
	s := &Server{}
	var all []string
	for pattern := range s.plain() {
		all = append(all, pattern)
	}
	for pattern := range s.streams() {
		all = append(all, pattern)
	}
	return all
}

// LimitBodies bounds how long a request may take to bring what it brings.
func (s *Server) LimitBodies(long time.Duration) { s.bodyTime = long }

// LimitFilms bounds what a film may take.
func (s *Server) LimitFilms(bytes int64, long time.Duration) { s.filmBytes, s.filmTime = bytes, long }

// TakeFilms leaves no room for a film.
func (s *Server) TakeFilms() {
	for range cap(s.filmFiles) {
		s.filmFiles <- struct{}{}
	}
}
