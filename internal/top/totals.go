package top

// Totals are what the services say, added up; -1 where none of them says it. Counts
// are since each service's start.
type Totals struct {
	Sessions     float64 `json:"open_sessions"`
	Members      float64 `json:"slicers"`
	Held         float64 `json:"held_bytes"`
	Budget       float64 `json:"memory_budget_bytes"`
	Checkpoints  float64 `json:"checkpoint_kept_bytes"`
	Events       float64 `json:"events"`
	EventRate    float64 `json:"events_per_second"`
	Parts        float64 `json:"parts"`
	PartRate     float64 `json:"parts_per_second"`
	PartByteRate float64 `json:"part_bytes_per_second"`
	Upload       float64 `json:"upload_seconds_mean"` // of the parts since the snapshot before, or else of all
	Retries      float64 `json:"retries"`
	Fenced       float64 `json:"fenced"`
	Takeovers    float64 `json:"takeovers"`
	Refused      float64 `json:"refused_messages"` // under .late
	Gaps         float64 `json:"gaps"`
	Abandoned    float64 `json:"abandoned_sessions"`
	Completed    float64 `json:"completer_sessions"`
	Completing   float64 `json:"completer_working"`
	Overdue      float64 `json:"completer_overdue_sessions"`
	AccessLag    float64 `json:"accesslog_lag_messages"`
	Producing    float64 `json:"producer_sessions"`
	Waiting      float64 `json:"producer_waiting_sessions"`
	Queued       float64 `json:"producer_queued_bytes"`
	Spooled      float64 `json:"producer_spool_bytes"`

	uploads, uploadSeconds, partBytes float64
}

// total adds up, and compares with the snapshot before.
func (s *Snapshot) total(before *Snapshot) {
	t := &s.Totals
	for name, to := range map[string]*float64{
		"tapedeck_slicer_sessions":                 &t.Sessions,
		"tapedeck_slicer_held_bytes":               &t.Held,
		"tapedeck_slicer_memory_budget_bytes":      &t.Budget,
		"tapedeck_slicer_checkpoint_kept_bytes":    &t.Checkpoints,
		"tapedeck_slicer_events_total":             &t.Events,
		"tapedeck_slicer_part_bytes_total":         &t.partBytes,
		"tapedeck_slicer_retries_total":            &t.Retries,
		"tapedeck_slicer_fenced_total":             &t.Fenced,
		"tapedeck_slicer_takeovers_total":          &t.Takeovers,
		"tapedeck_slicer_late_total":               &t.Refused,
		"tapedeck_slicer_gaps_total":               &t.Gaps,
		"tapedeck_slicer_sessions_abandoned_total": &t.Abandoned,
		"tapedeck_completer_sessions_total":        &t.Completed,
		"tapedeck_completer_working":               &t.Completing,
		"tapedeck_completer_overdue_sessions":      &t.Overdue,
		"tapedeck_accesslog_lag_messages":          &t.AccessLag,
		"tapedeck_producer_sessions":               &t.Producing,
		"tapedeck_producer_waiting_sessions":       &t.Waiting,
		"tapedeck_producer_queued_bytes":           &t.Queued,
		"tapedeck_producer_spool_bytes":            &t.Spooled,
	} {
		*to = -1
		if v, ok := s.sum(name); ok {
			*to = v
		}
	}
	t.Members = -1
	for _, x := range s.Services {
		for _, m := range x.families["tapedeck_slicer_members"].GetMetric() {
			t.Members = max(t.Members, valueOf(m))
		}
	}
	t.uploads, t.uploadSeconds = s.histogram("tapedeck_slicer_upload_seconds")
	t.Parts, t.EventRate, t.PartRate, t.PartByteRate, t.Upload = t.uploads, -1, -1, -1, -1
	if t.uploads > 0 {
		t.Upload = t.uploadSeconds / t.uploads
	}
	if before != nil {
		t.since(before.Totals, max(s.At.Sub(before.At).Seconds(), 0.001))
	}
}

// since adds the rates. A service that was started again counts from 0: no rate then.
func (t *Totals) since(b Totals, dt float64) {
	rate := func(now, then float64) float64 {
		if now < 0 || then < 0 || now < then {
			return -1
		}
		return (now - then) / dt
	}
	t.EventRate, t.PartRate, t.PartByteRate = rate(t.Events, b.Events), rate(t.uploads, b.uploads), rate(t.partBytes, b.partBytes)
	if n := t.uploads - b.uploads; n > 0 {
		t.Upload = (t.uploadSeconds - b.uploadSeconds) / n
	}
}
