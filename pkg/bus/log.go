package bus

import "time"

// LogVersion is the version that records of the upload log carry. A service
// that meets a newer one leaves the session alone and says so.
const LogVersion = 1

// Headers of a record in the upload log. The state rides in a header, not in
// the payload, so that whoever takes a partition over learns the state of all
// its sessions from headers alone and reads checkpoint bytes only when needed.
const (
	HeaderKind  = "Tapedeck-Kind"  // one of the Kind constants
	HeaderState = "Tapedeck-State" // SessionState as JSON, on every record of a session
	HeaderFence = "Tapedeck-Fence" // the fence that the record was written under, for people who read the log
)

// Kinds of record in a session's upload log.
const (
	KindBase       = "base"       // an owner is about to upload; no payload
	KindPart       = "part"       // payload: PartRecord
	KindCheckpoint = "checkpoint" // on the checkpoint subject; payload: CheckpointRecord and bytes
	KindEnded      = "ended"      // payload: EndedRecord; the last part, if any, is in it
	KindCompleted  = "completed"  // payload: CompletedRecord
	KindNotified   = "notified"   // payload: CompletedRecord; outlives the session's events
	KindLost       = "parts-lost" // payload: CompletedRecord with Lost set; never completed as if whole
)

// A SessionState is everything that the next owner of a partition must know of
// one session. Each record of a session's log carries it whole, so the newest
// record (by stream sequence, over the session's two subjects) is the state.
type SessionState struct {
	V         int       `json:"v"`
	SID       string    `json:"sid"`
	Partition int       `json:"p"`
	Node      string    `json:"node"`             // owner; events from other nodes are refused
	NextNode  string    `json:"to,omitempty"`     // named by a handover that is not yet taken up
	Writer    string    `json:"writer,omitempty"` // nonce of the newest writer
	Trace     string    `json:"trace,omitempty"`  // of the session, as in HeaderTrace
	Opened    time.Time `json:"opened"`           // bus time of the first message
	Seen      time.Time `json:"seen"`             // bus time of the newest message of any kind

	Next       int64  `json:"next"`                  // every event below it is in a part or a checkpoint
	StreamSeq  uint64 `json:"sseq"`                  // newest EVENTS message that the state reflects
	Events     int64  `json:"events"`                // events recorded
	Duplicates int64  `json:"dup,omitempty"`         // messages' events already recorded with the same bytes
	Late       int64  `json:"late,omitempty"`        // messages put under <sid>.late
	Missing    int64  `json:"missing,omitempty"`     // indexes that no event has, over all gaps
	Gaps       []Gap  `json:"gaps,omitempty"`        // the first MaxListedGaps of them
	GapCount   int64  `json:"gap_count,omitempty"`   // all of them
	SessionEnd bool   `json:"session_end,omitempty"` // a session.end event was recorded

	// RewindTo is set while a session is recorded anew from its first event,
	// because the store forgot its upload: the cursor has passed its messages
	// above StreamSeq and up to RewindTo, and they are read once more.
	RewindTo uint64 `json:"rewind_to,omitempty"`

	Upload *UploadState `json:"upload,omitempty"` // nil before the first base record
	Slices []SliceState `json:"slices,omitempty"` // not yet in a committed part, oldest first
	Ended  bool         `json:"ended,omitempty"`
}

// MetaNonce and MetaSession are the metadata of the finished object, set when
// its upload is created: they tell our object from another's under the key.
const (
	MetaNonce   = "tapedeck-nonce" // UploadState.Nonce
	MetaSession = "tapedeck-session"
)

// MaxListedGaps bounds the gaps that a state lists; the rest are only counted.
const MaxListedGaps = 100

// A Gap is a run of indexes that no event has: From up to but without To.
type Gap struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// An UploadState is the multipart upload of a session and which part numbers
// its owner may use: Highest+1 up to max(Highest, Base-1) + Limit.
type UploadState struct {
	ID      string `json:"id"`
	Key     string `json:"key"`
	Nonce   string `json:"nonce"`   // in the object's metadata: tells our object from another's
	Base    int    `json:"base"`    // first number the owner may use
	Limit   int    `json:"limit"`   // C: uploads that the owner has in flight at once
	Highest int    `json:"highest"` // highest committed number, 0 if none
	Parts   int    `json:"parts"`   // committed parts
	Bytes   int64  `json:"bytes"`   // stored bytes of committed parts
}

// A SliceState is one slice that is not in a committed part, as far as it is
// checkpointed. Its blocks are the concatenation, oldest first, of the bytes
// of the checkpoint records found by following CheckpointRecord.Prev from Seq.
type SliceState struct {
	First      int64  `json:"first"`       // index of its first event; names the slice
	Last       int64  `json:"last"`        // index of its last event
	Records    int64  `json:"records"`     // events in it
	BlockBytes int64  `json:"block_bytes"` // compressed bytes in whole blocks
	RawBytes   int64  `json:"raw"`         // uncompressed bytes, pending tail included
	CRC        uint32 `json:"crc"`         // CRC-32 (IEEE) of the uncompressed bytes in whole blocks
	Seq        uint64 `json:"seq"`         // newest checkpoint record of the slice; 0 in the state that this very record carries
	Closed     bool   `json:"closed,omitempty"`

	FirstSeq  uint64    `json:"fseq"` // stream sequence and time of its first and last message
	LastSeq   uint64    `json:"lseq"`
	FirstTime time.Time `json:"ft"`
	LastTime  time.Time `json:"lt"`

	// As in PartRecord.
	FirstEvent time.Time `json:"fet"`
	LastEvent  time.Time `json:"let"`
	FirstDelay int64     `json:"fms"`
	LastDelay  int64     `json:"lms"`
}

// A PartRecord is one committed part, in order of number.
type PartRecord struct {
	Number   int    `json:"number"`
	ETag     string `json:"etag"`
	Checksum string `json:"checksum,omitempty"` // "<algorithm>:<base64>", as the store confirmed it
	SHA256   string `json:"sha256"`             // hex, of the stored bytes
	Bytes    int64  `json:"bytes"`              // stored, header included
	RawBytes int64  `json:"raw"`                // uncompressed
	Records  int64  `json:"records"`

	First     int64     `json:"first"` // event indexes
	Last      int64     `json:"last"`
	FirstSeq  uint64    `json:"fseq"` // stream sequences
	LastSeq   uint64    `json:"lseq"`
	FirstTime time.Time `json:"ft"` // bus times
	LastTime  time.Time `json:"lt"`

	// Times of the first and last event by the events' own clocks, and the
	// print delays, so that a reader finds a part by time.
	FirstEvent time.Time `json:"fet"`
	LastEvent  time.Time `json:"let"`
	FirstDelay int64     `json:"fms"` // milliseconds; -1 if the part has no print
	LastDelay  int64     `json:"lms"`

	Gaps []Gap `json:"gaps,omitempty"` // inside or just before the part; MaxListedGaps at most
}

// A CheckpointRecord says what the bytes that follow it are. The payload is
// uint32 big-endian length of the JSON, the JSON, Blocks bytes, Tail bytes.
type CheckpointRecord struct {
	First  int64  `json:"first"`  // the slice
	Offset int64  `json:"offset"` // where Blocks goes in the slice's compressed bytes
	Blocks int    `json:"blocks"` // bytes of whole compressed blocks
	Tail   int    `json:"tail"`   // bytes of records that are not yet a block, as raw DEFLATE
	Prev   uint64 `json:"prev"`   // the record before in the chain that has blocks; 0 if none
}

// Outcomes of a session.
const (
	OutcomeComplete  = "complete"  // its producer said that it is over, and every event is there
	OutcomeAbandoned = "abandoned" // its producer fell silent
	OutcomeGapped    = "gapped"    // its producer said that it is over, and indexes are missing
)

// An EndedRecord closes a session's log: no part follows it.
type EndedRecord struct {
	Outcome string      `json:"outcome"`
	Count   int64       `json:"count"` // highest index + 1, or what the producer said if that is more
	Events  int64       `json:"events"`
	Part    *PartRecord `json:"part,omitempty"` // the last part; nil if there is nothing left to commit
	At      time.Time   `json:"at"`             // bus time of the end message, or of the last one seen
}

// A CompletedRecord says what became of the upload.
type CompletedRecord struct {
	Key      string    `json:"key,omitempty"` // empty for a session without events
	ETag     string    `json:"etag,omitempty"`
	Bytes    int64     `json:"bytes"`
	Events   int64     `json:"events"`
	Outcome  string    `json:"outcome"`
	Manifest string    `json:"manifest"` // key
	At       time.Time `json:"at"`
	Lost     string    `json:"lost,omitempty"` // why parts are lost, with KindLost
}

// A Lease is the newest record on a partition's lease subject. Its stream
// sequence is the fence.
type Lease struct {
	V      int       `json:"v"`
	Owner  string    `json:"owner"` // member id; empty when free
	Nonce  string    `json:"nonce"` // of this claim
	At     time.Time `json:"at"`    // for people; nothing is decided by it
	Reason string    `json:"reason,omitempty"`
}

// A Cursor is how far a partition's owner has made everything durable.
type Cursor struct {
	V       int       `json:"v"`
	Seq     uint64    `json:"seq"`     // every message up to it is in a part, a checkpoint, the log, or under .late
	Created time.Time `json:"created"` // creation time of the EVENTS stream it speaks of
	At      time.Time `json:"at"`
}
