package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// logFilter matches the logs and checkpoints of all sessions, and neither leases
// nor cursors. It is one filter: a consumer with several is slow.
const logFilter = "tapedeck.uploads.*.*.*"

// A logged session is the newest that the upload log says of one.
type logged struct {
	state bus.SessionState
	kind  string // of the newest record that is no checkpoint
	seq   uint64 // of the newest record
	log   uint64 // of the one that kind is from
}

func (l logged) info() Info {
	st := l.state
	i := Info{
		Session: st.SID, Status: Live, Node: st.Node, Partition: st.Partition, Started: st.Opened, Seen: st.Seen,
		Events: st.Events, Missing: st.Missing, Late: st.Late,
	}
	if st.Upload != nil {
		i.Parts, i.Bytes = st.Upload.Parts, st.Upload.Bytes
	}
	switch l.kind {
	case bus.KindEnded:
		i.Status = Ending
	case bus.KindCompleted, bus.KindNotified:
		i.Status = Finished
	case bus.KindLost:
		i.Status = Lost
	}
	if st.Ended && i.Status == Live {
		i.Status = Ending
	}
	return i
}

// readLogs reads the newest state of every session that has a log, from headers
// alone.
func (l *Library) readLogs(ctx context.Context) (map[string]logged, error) {
	js := l.Conn.JetStream()
	cons, err := js.OrderedConsumer(ctx, bus.StreamUploads, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{logFilter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true,
		MaxResetAttempts: 2, // rather than for ever, where ctx does not reach
	})
	if err != nil {
		return nil, fmt.Errorf("read the upload logs: %w", err)
	}
	defer func() {
		// It would go by itself, but only after minutes.
		if info := cons.CachedInfo(); info != nil {
			_ = js.DeleteConsumer(context.WithoutCancel(ctx), bus.StreamUploads, info.Name)
		}
	}()
	all := map[string]logged{}
	if info := cons.CachedInfo(); info != nil && info.NumPending == 0 {
		return all, nil
	}
	msgs, err := cons.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("read the upload logs: %w", err)
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	for {
		msg, err := msgs.Next()
		if err != nil {
			return nil, fmt.Errorf("read the upload logs: %w", errors.Join(err, ctx.Err()))
		}
		md, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read the upload logs: %w", err)
		}
		learn(all, msg.Subject(), msg.Headers().Get(bus.HeaderKind), msg.Headers().Get(bus.HeaderState), md.Sequence.Stream)
		if md.NumPending == 0 {
			return all, nil
		}
	}
}

// learn adds one record. A state that cannot be read, or that is of a later
// version, tells at least that the session is there.
func learn(all map[string]logged, subject, kind, state string, seq uint64) {
	var st bus.SessionState
	if json.Unmarshal([]byte(state), &st) != nil || st.V > bus.LogVersion {
		st = bus.SessionState{}
	}
	sid := subject[strings.LastIndexByte(subject, '.')+1:]
	st.SID = sid
	was, known := all[sid]
	if !known || seq > was.seq {
		was.state, was.seq = st, seq
	}
	if kind != bus.KindCheckpoint && (was.log == 0 || seq > was.log) {
		was.kind, was.log = kind, seq
	}
	all[sid] = was
}

// unlogged are the sessions on the streams that are not in known: those that have
// just begun.
func (l *Library) unlogged(ctx context.Context, known map[string]logged) ([]Info, error) {
	var infos []Info
	for p := range l.Layout.Partitions {
		stream, err := l.Conn.JetStream().Stream(ctx, bus.EventStream(p))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", bus.EventStream(p), err)
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(bus.EventSubject(p, "*", "*")))
		if err != nil {
			return nil, fmt.Errorf("read the subjects of %s: %w", bus.EventStream(p), err)
		}
		seen := map[string]bool{}
		for subject := range info.State.Subjects {
			_, _, sid, err := bus.ParseEventSubject(subject)
			if _, logged := known[sid]; err != nil || logged || seen[sid] {
				continue
			}
			seen[sid] = true
			i, err := newest(ctx, stream, p, sid)
			if errors.Is(err, ErrNotFound) {
				continue // trimmed since
			}
			if err != nil {
				return nil, err
			}
			infos = append(infos, i)
		}
	}
	return infos, nil
}

// newest is what the newest message of a session on its stream says.
func newest(ctx context.Context, stream jetstream.Stream, p int, sid string) (Info, error) {
	msg, err := stream.GetLastMsgForSubject(ctx, bus.EventSubject(p, "*", sid))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Info{}, fmt.Errorf("find session %s: %w", sid, ErrNotFound)
	}
	if err != nil {
		return Info{}, fmt.Errorf("find session %s: %w", sid, err)
	}
	i := Info{Session: sid, Status: Live, Partition: p, Seen: msg.Time}
	if _, node, _, err := bus.ParseEventSubject(msg.Subject); err == nil {
		i.Node = node
	}
	return i, nil
}

func (l *Library) findOnBus(ctx context.Context, sid string) (Info, error) {
	p := bus.Partition(sid, l.Layout.Partitions)
	js := l.Conn.JetStream()
	uploads, err := js.Stream(ctx, bus.StreamUploads)
	if err != nil {
		return Info{}, fmt.Errorf("find session %s: %w", sid, err)
	}
	all := map[string]logged{}
	for _, subject := range []string{bus.LogSubject(p, sid), bus.CheckpointSubject(p, sid)} {
		msg, err := uploads.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return Info{}, fmt.Errorf("find session %s: %w", sid, err)
		}
		learn(all, subject, msg.Header.Get(bus.HeaderKind), msg.Header.Get(bus.HeaderState), msg.Sequence)
	}
	if found, ok := all[sid]; ok {
		return found.info(), nil
	}
	stream, err := js.Stream(ctx, bus.EventStream(p))
	if err != nil {
		return Info{}, fmt.Errorf("find session %s: %w", sid, err)
	}
	return newest(ctx, stream, p, sid)
}
