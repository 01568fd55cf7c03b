package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Names of the streams that are not partitioned. The others are [EventStream].
const (
	StreamUploads = "UPLOADS"
	StreamAccess  = "ACCESS"
	StreamAudit   = "AUDIT"
	StreamNotify  = "NOTIFY"
)

// MaxName is the longest name of a session or a node, in bytes.
const MaxName = 64

// MaxPartitions is the most partitions that an installation can have. Up to 16
// are advised; each is one Raft group.
const MaxPartitions = 1024

// ErrName is in the error of everything that is given a session or node that
// [ValidName] refuses.
var ErrName = errors.New("not a valid name")

const (
	eventsPrefix  = "tapedeck.events."
	uploadsPrefix = "tapedeck.uploads."
)

// ValidName says whether s may name a session or a node: 1 to 64 of A-Z a-z 0-9
// _ and -. Its error wraps [ErrName].
func ValidName(s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("name of %d bytes: %w (1 to %d bytes)", len(s), ErrName, MaxName)
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return fmt.Errorf("name %q: %w (byte %d is not one of A-Z a-z 0-9 _ -)", s, ErrName, i)
		}
	}
	return nil
}

func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-'
}

// Partition is the partition of session sid among p: FNV-1a, 32 bits, modulo p.
// It is what a server's partition() mapping computes, so that an account mapping
// can do it for a client.
func Partition(sid string, p int) int {
	h := uint32(2166136261)
	for i := range len(sid) {
		h = (h ^ uint32(sid[i])) * 16777619
	}
	return int(h % uint32(p))
}

// EventStream is the name of partition p's stream of events.
func EventStream(p int) string { return "EVENTS-" + strconv.Itoa(p) }

// EventSubject is where node publishes the events of session sid, which is in
// partition p.
func EventSubject(p int, node, sid string) string {
	return eventsPrefix + strconv.Itoa(p) + "." + node + "." + sid
}

// ParseEventSubject is the reverse of [EventSubject].
func ParseEventSubject(subject string) (p int, node, sid string, err error) {
	rest, ok := strings.CutPrefix(subject, eventsPrefix)
	tokens := strings.Split(rest, ".")
	if !ok || len(tokens) != 3 {
		return 0, "", "", fmt.Errorf("subject %q is not %s<partition>.<node>.<session>", subject, eventsPrefix)
	}
	p, err = strconv.Atoi(tokens[0])
	if err != nil || p < 0 || p >= MaxPartitions || strconv.Itoa(p) != tokens[0] {
		return 0, "", "", fmt.Errorf("subject %q: partition %q is not a number below %d", subject, tokens[0], MaxPartitions)
	}
	if err := errors.Join(ValidName(tokens[1]), ValidName(tokens[2])); err != nil {
		return 0, "", "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return p, tokens[1], tokens[2], nil
}

// LeaseSubject is where the ownership of partition p is recorded. The sequence
// of its newest record is the fence.
func LeaseSubject(p int) string { return uploadsSubject(p, "lease") }

// CursorSubject is where the owner of partition p records how far it is.
func CursorSubject(p int) string { return uploadsSubject(p, "cursor") }

// LogSubject is the upload log of session sid.
func LogSubject(p int, sid string) string { return uploadsSubject(p, "s."+sid) }

// CheckpointSubject is where checkpoints of session sid go.
func CheckpointSubject(p int, sid string) string { return uploadsSubject(p, "c."+sid) }

// UploadsFilter matches everything that is recorded of partition p.
func UploadsFilter(p int) string { return uploadsSubject(p, ">") }

func uploadsSubject(p int, what string) string {
	return uploadsPrefix + strconv.Itoa(p) + "." + what
}

// StatusSubject is where producers of node hear how far session sid is in S3.
func StatusSubject(node, sid string) string { return "tapedeck.status." + node + "." + sid }

// AccessSubject is where access-session records of a resource go.
func AccessSubject(resource string) string { return "tapedeck.access." + resource }

// AuditSubject is where events that belong to no session go, by their type.
func AuditSubject(typ string) string { return "tapedeck.audit." + typ }

// NotifySubject is where what became of recordings is told: completed,
// abandoned, failed.
func NotifySubject(what string) string { return "tapedeck.notify.recording." + what }

func validNames(node, sid string) error {
	if err := ValidName(node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := ValidName(sid); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}
