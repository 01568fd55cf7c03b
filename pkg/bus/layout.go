package bus

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LayoutVersion is the version of the streams' arrangement.
const LayoutVersion = 1

// A Layout is how the streams of an installation are set up. A zero field means
// what is installed, or else the default.
type Layout struct {
	Partitions int `name:"partitions" env:"TAPEDECK_PARTITIONS" help:"Partitions of the event stream, fixed when installed; default 1, at most 16 advised."`
	Replicas   int `name:"replicas" env:"TAPEDECK_REPLICAS" help:"Replicas of each stream: 1, or 3 on a cluster; default 1."`

	EventsMaxBytes  int64 `name:"events-max-bytes" env:"TAPEDECK_EVENTS_MAX_BYTES" help:"Room for the events of one partition, in bytes; producers wait when it is full; default 4 GiB."`
	UploadsMaxBytes int64 `name:"uploads-max-bytes" env:"TAPEDECK_UPLOADS_MAX_BYTES" help:"Room for upload logs and checkpoints, in bytes; default 1 GiB."`
	AccessMaxBytes  int64 `name:"access-max-bytes" env:"TAPEDECK_ACCESS_MAX_BYTES" help:"Room for access records, in bytes; default 256 MiB."`
	AuditMaxBytes   int64 `name:"audit-max-bytes" env:"TAPEDECK_AUDIT_MAX_BYTES" help:"Room for audit events, in bytes; default 256 MiB."`
	NotifyMaxBytes  int64 `name:"notify-max-bytes" env:"TAPEDECK_NOTIFY_MAX_BYTES" help:"Room for notifications, in bytes; default 64 MiB."`

	AccessMaxAge time.Duration `name:"access-max-age" env:"TAPEDECK_ACCESS_MAX_AGE" help:"How long access records stay on the bus; default 720h."`
	AuditMaxAge  time.Duration `name:"audit-max-age" env:"TAPEDECK_AUDIT_MAX_AGE" help:"How long audit events stay on the bus; default 2160h."`
	NotifyMaxAge time.Duration `name:"notify-max-age" env:"TAPEDECK_NOTIFY_MAX_AGE" help:"How long notifications stay on the bus; default 168h."`

	Storage jetstream.StorageType `kong:"-"` // file; memory only in tests
}

// DefaultLayout is what a Layout's zero fields mean where nothing is installed.
var DefaultLayout = Layout{
	Partitions:      1,
	Replicas:        1,
	EventsMaxBytes:  4 << 30,
	UploadsMaxBytes: 1 << 30,
	AccessMaxBytes:  256 << 20,
	AuditMaxBytes:   256 << 20,
	NotifyMaxBytes:  64 << 20,
	AccessMaxAge:    30 * 24 * time.Hour,
	AuditMaxAge:     90 * 24 * time.Hour,
	NotifyMaxAge:    7 * 24 * time.Hour,
}

// Streams are the names of all streams of the installation.
func (l Layout) Streams() []string {
	names := []string{StreamUploads, StreamAccess, StreamAudit, StreamNotify}
	for p := range l.Partitions {
		names = append(names, EventStream(p))
	}
	return names
}

// Validate says everything that is wrong with the layout at once.
func (l Layout) Validate() error {
	var errs []error
	if l.Partitions < 0 || l.Partitions > MaxPartitions {
		errs = append(errs, fmt.Errorf("partitions: %d is not between 1 and %d", l.Partitions, MaxPartitions))
	}
	if l.Replicas < 0 || l.Replicas > 5 || l.Replicas > 0 && l.Replicas%2 == 0 {
		errs = append(errs, fmt.Errorf("replicas: %d is not 1, 3 or 5", l.Replicas))
	}
	for _, f := range []struct {
		name string
		n    int64
	}{
		{"events", l.EventsMaxBytes}, {"uploads", l.UploadsMaxBytes}, {"access", l.AccessMaxBytes},
		{"audit", l.AuditMaxBytes}, {"notify", l.NotifyMaxBytes},
	} {
		if f.n < 0 {
			errs = append(errs, fmt.Errorf("%s max bytes: %d is negative; every stream has a limit", f.name, f.n))
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"access", l.AccessMaxAge}, {"audit", l.AuditMaxAge}, {"notify", l.NotifyMaxAge}} {
		if f.d < 0 || f.d > 0 && f.d < time.Second {
			errs = append(errs, fmt.Errorf("%s max age: %s is not at least 1s", f.name, f.d))
		}
	}
	return errors.Join(errs...)
}

// or fills the zero fields of l from d, all but Storage, whose zero is file.
func (l Layout) or(d Layout) Layout {
	return Layout{
		Partitions:      cmp.Or(l.Partitions, d.Partitions),
		Replicas:        cmp.Or(l.Replicas, d.Replicas),
		EventsMaxBytes:  cmp.Or(l.EventsMaxBytes, d.EventsMaxBytes),
		UploadsMaxBytes: cmp.Or(l.UploadsMaxBytes, d.UploadsMaxBytes),
		AccessMaxBytes:  cmp.Or(l.AccessMaxBytes, d.AccessMaxBytes),
		AuditMaxBytes:   cmp.Or(l.AuditMaxBytes, d.AuditMaxBytes),
		NotifyMaxBytes:  cmp.Or(l.NotifyMaxBytes, d.NotifyMaxBytes),
		AccessMaxAge:    cmp.Or(l.AccessMaxAge, d.AccessMaxAge),
		AuditMaxAge:     cmp.Or(l.AuditMaxAge, d.AuditMaxAge),
		NotifyMaxAge:    cmp.Or(l.NotifyMaxAge, d.NotifyMaxAge),
		Storage:         l.Storage,
	}
}

// Total is the room that all streams together may take, in bytes. A server that
// holds a replica of each must have more than that for JetStream.
func (l Layout) Total() int64 {
	l = l.or(DefaultLayout)
	return int64(l.Partitions)*l.EventsMaxBytes + l.UploadsMaxBytes + l.AccessMaxBytes + l.AuditMaxBytes + l.NotifyMaxBytes
}

// Metadata of every stream.
const (
	metaLayout     = "tapedeck-layout"
	metaPartitions = "tapedeck-partitions"
)

// maxEventMessage leaves room for a simple client's headers around the largest
// message that a Publisher makes.
const maxEventMessage = 1 << 20

// minDuplicates is the shortest window that a server takes. No message but those
// of access records carries an id, and remembering ids costs a server memory, so
// it is as short as can be.
const minDuplicates = 100 * time.Millisecond

// accessDuplicates is long enough for some retries of a message of access
// records, which many writers send to one subject and which therefore has only
// its id to be known by. There are few such messages, with many records each.
const accessDuplicates = time.Minute

// streams are the settings of all streams of a layout that has no zero field.
func (l Layout) streams() []jetstream.StreamConfig {
	var cfgs []jetstream.StreamConfig
	for p := range l.Partitions {
		// Events do not expire: the owner of the partition trims what is in S3. A
		// full stream refuses, and producers wait. Producers choose their headers,
		// so none may delete (rollup, TTL) or publish later (schedules).
		cfg := l.stream(EventStream(p), "Events of sessions, partition "+strconv.Itoa(p), eventsPrefix+strconv.Itoa(p)+".*.*")
		cfg.MaxBytes, cfg.MaxMsgSize = l.EventsMaxBytes, maxEventMessage
		cfg.AllowAtomicPublish = true
		cfgs = append(cfgs, cfg)
	}
	uploads := l.stream(StreamUploads, "Leases, cursors, upload logs and checkpoints", uploadsPrefix+">")
	uploads.MaxBytes = l.UploadsMaxBytes
	uploads.AllowAtomicPublish, uploads.AllowMsgTTL, uploads.AllowRollup = true, true, true

	access := l.stream(StreamAccess, "Records of access sessions", AccessSubject(">"))
	access.MaxBytes, access.MaxAge = l.AccessMaxBytes, l.AccessMaxAge
	access.Duplicates = min(accessDuplicates, l.AccessMaxAge)
	audit := l.stream(StreamAudit, "Events that belong to no session", AuditSubject(">"))
	audit.MaxBytes, audit.MaxAge = l.AuditMaxBytes, l.AuditMaxAge

	// Notifications say what is true elsewhere too (manifests, upload log), so
	// the oldest give way: a reader that is gone must not stop the completer.
	notify := l.stream(StreamNotify, "What became of recordings", NotifySubject(">"))
	notify.MaxBytes, notify.MaxAge, notify.Discard = l.NotifyMaxBytes, l.NotifyMaxAge, jetstream.DiscardOld
	return append(cfgs, uploads, access, audit, notify)
}

func (l Layout) stream(name, description, subject string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Description:       description,
		Subjects:          []string{subject},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxConsumers:      -1,
		MaxMsgSize:        -1,
		Storage:           l.Storage,
		Replicas:          l.Replicas,
		Duplicates:        minDuplicates,
		AllowDirect:       true,
		Metadata: map[string]string{
			metaLayout:     strconv.Itoa(LayoutVersion),
			metaPartitions: strconv.Itoa(l.Partitions),
		},
	}
}

// installed is the layout that the streams' settings amount to; fields of
// streams that are not there are zero.
func installed(have map[string]jetstream.StreamConfig) (Layout, error) {
	var l Layout
	first, ok := have[EventStream(0)]
	if !ok {
		return l, nil
	}
	if v, err := strconv.Atoi(first.Metadata[metaLayout]); err == nil && v > LayoutVersion {
		return l, fmt.Errorf("stream %s: layout version %d: %w than %d", first.Name, v, ErrVersion, LayoutVersion)
	}
	n, err := strconv.Atoi(first.Metadata[metaPartitions])
	if err != nil || n < 1 || n > MaxPartitions {
		return l, &LayoutError{first.Name, "metadata " + metaPartitions, first.Metadata[metaPartitions], "a number of partitions"}
	}
	l.Partitions, l.Replicas, l.EventsMaxBytes, l.Storage = n, first.Replicas, first.MaxBytes, first.Storage
	l.UploadsMaxBytes = have[StreamUploads].MaxBytes
	l.AccessMaxBytes, l.AccessMaxAge = have[StreamAccess].MaxBytes, have[StreamAccess].MaxAge
	l.AuditMaxBytes, l.AuditMaxAge = have[StreamAudit].MaxBytes, have[StreamAudit].MaxAge
	l.NotifyMaxBytes, l.NotifyMaxAge = have[StreamNotify].MaxBytes, have[StreamNotify].MaxAge
	return l, nil
}
