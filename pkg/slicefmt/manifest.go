package slicefmt

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ManifestVersion is the version of manifests that this package writes and the
// only one it reads. A member more, or another meaning, is a new version.
const ManifestVersion = 1

// MaxManifest is the most bytes that a manifest may have: 10,000 parts take
// about 7 MiB.
const MaxManifest = 16 << 20

// MaxPartNumber is the highest number that a part of an upload can have.
const MaxPartNumber = 10_000

// Outcomes of a session, as a manifest has them.
const (
	OutcomeComplete  = "complete"  // its producer said that it is over, and every event is there
	OutcomeAbandoned = "abandoned" // its producer fell silent
	OutcomeGapped    = "gapped"    // its producer said that it is over, and indexes are missing
)

// ManifestSchema is the JSON Schema (draft 2020-12) of manifests of version
// ManifestVersion.
//
//go:embed manifest.schema.json
var ManifestSchema []byte

// A Manifest says what a finished recording is made of. It is a JSON object
// beside the recording; docs/manifest.md explains it member by member.
type Manifest struct {
	Version int    `json:"version"` // ManifestVersion
	Session string `json:"session"` // session id
	Key     string `json:"key"`     // of the recording in its bucket; empty if the session had no events
	Outcome string `json:"outcome"` // one of the Outcome constants
	Rebuilt bool   `json:"rebuilt,omitempty"`

	Events     int64            `json:"events"`              // records in the recording
	Count      int64            `json:"count"`               // what Events would be without gaps: the highest index + 1, or what the producer said if that is more
	Duplicates int64            `json:"duplicates"`          // events that came again with the same bytes and were left out
	Late       int64            `json:"late"`                // messages kept beside the recording, not in it
	Missing    int64            `json:"missing"`             // indexes below Count that no event has
	Gaps       []Gap            `json:"gaps,omitempty"`      // the first of them, in order
	GapCount   int64            `json:"gap_count,omitempty"` // all of them
	Types      map[string]int64 `json:"types,omitempty"`     // events by their type, where that was counted

	Bytes       int64     `json:"bytes"`     // of the recording, which is the sum over its parts
	RawBytes    int64     `json:"raw_bytes"` // of its records before compression
	ETag        string    `json:"etag,omitempty"`
	UploadNonce string    `json:"upload_nonce,omitempty"` // in the object's metadata
	Created     time.Time `json:"created"`                // when the manifest was made

	Metadata Metadata       `json:"metadata"`
	Parts    []ManifestPart `json:"parts"` // in order of Offset, which is order of Number
}

// A Gap is a run of indexes that no event has: From up to but without To.
type Gap struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// A ManifestPart is one part of a recording.
type ManifestPart struct {
	Number   int   `json:"number"` // in the upload; numbers grow and may leave some out
	Offset   int64 `json:"offset"` // of its first byte in the recording
	Bytes    int64 `json:"bytes"`
	RawBytes int64 `json:"raw_bytes"`
	Records  int64 `json:"records"`

	FirstIndex    int64     `json:"first_index"`
	LastIndex     int64     `json:"last_index"`
	FirstEvent    time.Time `json:"first_event"`    // by the events' own clock
	LastEvent     time.Time `json:"last_event"`     //
	FirstDelay    int64     `json:"first_delay_ms"` // of its first and last print; -1 if it has none
	LastDelay     int64     `json:"last_delay_ms"`
	FirstSequence uint64    `json:"first_sequence,omitempty"` // of the messages on the bus
	LastSequence  uint64    `json:"last_sequence,omitempty"`
	FirstTime     time.Time `json:"first_time,omitzero"` // when the bus took them
	LastTime      time.Time `json:"last_time,omitzero"`

	SHA256   string `json:"sha256"`             // of the part's bytes, in lower-case hexadecimal
	ETag     string `json:"etag,omitempty"`     // the store's tag for the part
	Checksum string `json:"checksum,omitempty"` // "<algorithm>:<base64>", as the store confirmed it
}

// ParseManifest reads a manifest and checks it with [Manifest.Validate]. It
// refuses members that it does not know. The version is looked at first: its
// error wraps ErrVersion for a manifest of another one, and ErrCorrupt for
// anything else that is wrong.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("parse manifest: %w: %d bytes, %d at most", ErrCorrupt, len(data), MaxManifest)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("parse manifest: %w: %w", ErrCorrupt, err)
	}
	if version.Version != ManifestVersion {
		return nil, fmt.Errorf("parse manifest: %w %d", ErrVersion, version.Version)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	m := new(Manifest)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w: %w", ErrCorrupt, err)
	}
	if _, err := d.Token(); !isEOF(err) {
		return nil, fmt.Errorf("parse manifest: %w: more after the manifest", ErrCorrupt)
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

// Marshal is the manifest as JSON, indented for people, with a line's end. It
// sets the version and refuses a manifest that Validate does.
func (m *Manifest) Marshal() ([]byte, error) {
	m.Version = ManifestVersion
	if m.Parts == nil {
		m.Parts = []ManifestPart{}
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// Validate says everything in which the manifest contradicts itself, each with
// ErrCorrupt; nil if nothing does. It does not look at the recording.
func (m *Manifest) Validate() error {
	c := &contradictions{}
	c.check(m.Session != "", "no session")
	c.check(m.Outcome == OutcomeComplete || m.Outcome == OutcomeAbandoned || m.Outcome == OutcomeGapped,
		"outcome %q is none of complete, abandoned, gapped", m.Outcome)
	c.check((m.Key != "") == (len(m.Parts) > 0), "key %q and %d parts", m.Key, len(m.Parts))
	c.check(m.Duplicates >= 0 && m.Late >= 0 && m.Missing >= 0, "negative duplicates, late or missing")
	c.check(m.Events >= 0 && m.Count >= m.Events, "%d events of a count of %d", m.Events, m.Count)
	c.check(m.GapCount >= int64(len(m.Gaps)) || m.GapCount == 0, "%d gaps listed of %d", len(m.Gaps), m.GapCount)
	for i, g := range m.Gaps {
		c.check(g.From >= 0 && g.To > g.From && (i == 0 || g.From >= m.Gaps[i-1].To), "gap %d is from %d to %d", i, g.From, g.To)
	}
	m.validateParts(c)
	return errors.Join(c.errs...)
}

func (m *Manifest) validateParts(c *contradictions) {
	var offset, raw, records int64
	previous := ManifestPart{LastIndex: -1}
	for _, p := range m.Parts {
		c.check(p.Number > previous.Number && p.Number <= MaxPartNumber, "part %d after part %d", p.Number, previous.Number)
		c.check(p.Offset == offset, "part %d is at byte %d, not %d", p.Number, p.Offset, offset)
		c.check(p.Bytes > HeaderSize && p.RawBytes > 0, "part %d has %d bytes for %d", p.Number, p.Bytes, p.RawBytes)
		c.check(p.FirstIndex > previous.LastIndex && p.LastIndex >= p.FirstIndex,
			"part %d has events %d to %d, the one before ended with %d", p.Number, p.FirstIndex, p.LastIndex, previous.LastIndex)
		c.check(p.Records > 0 && p.Records-1 <= p.LastIndex-p.FirstIndex,
			"part %d has %d records in events %d to %d", p.Number, p.Records, p.FirstIndex, p.LastIndex)
		c.check(isSHA256(p.SHA256), "part %d has no SHA-256 but %q", p.Number, p.SHA256)
		offset, raw, records = offset+p.Bytes, raw+p.RawBytes, records+p.Records
		previous = p
		if len(c.errs) >= maxContradictions {
			return
		}
	}
	c.check(m.Bytes == offset, "%d bytes, the parts have %d", m.Bytes, offset)
	c.check(m.RawBytes == raw, "%d raw bytes, the parts have %d", m.RawBytes, raw)
	c.check(m.Events == records, "%d events, the parts have %d", m.Events, records)
	c.check(m.Count > previous.LastIndex, "a count of %d, the last event is %d", m.Count, previous.LastIndex)
}

// maxContradictions bounds how many are told of.
const maxContradictions = 20

type contradictions struct{ errs []error }

func (c *contradictions) check(ok bool, format string, args ...any) {
	if !ok && len(c.errs) < maxContradictions {
		c.errs = append(c.errs, fmt.Errorf("%w: manifest has %s", ErrCorrupt, fmt.Sprintf(format, args...)))
	}
}

func isSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
