package web

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
