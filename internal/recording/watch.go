package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A Stored is a finished session as a listing of the store shows it. Tag changes
// when its manifest does.
type Stored struct {
	Session string
	Tag     string
}

// Stored yields the sessions that have a manifest, in the order of their keys. No
// manifest is read for it. After an error it yields nothing more.
func (l *Library) Stored(ctx context.Context) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		if l.Store == nil {
			return
		}
		for obj, err := range l.Store.ListFolder(ctx, l.Store.Key(""), "") {
			if err != nil {
				yield(Stored{}, fmt.Errorf("list recordings: %w", err))
				return
			}
			sid, ok := l.session(obj)
			if ok && !yield(Stored{sid, fmt.Sprintf("%s %d %d", obj.ETag, obj.Size, obj.Modified.UnixMicro())}, nil) {
				return
			}
		}
	}
}

// Finished is what the manifest of a session says. A manifest that cannot be used
// is no error: the session is there, and nothing is known of it.
func (l *Library) Finished(ctx context.Context, sid string) (Info, error) {
	m, err := readManifest(ctx, l.Store, sid)
	if err == nil {
		return finished(m), nil
	}
	if manifestAtFault(err) && !errors.Is(err, s3store.ErrNotFound) {
		return Info{Session: sid, Status: Finished}, nil
	}
	return Info{}, err
}

// Unfinished is the sessions that the bus knows and that are not finished, with
// who and when of those that described is false of.
func (l *Library) Unfinished(ctx context.Context, described func(sid string) bool) ([]Info, error) {
	if l.Conn == nil {
		return nil, nil
	}
	infos, err := l.openSessions(ctx)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		if !described(infos[i].Session) {
			l.describeOne(ctx, &infos[i])
		}
	}
	return infos, ctx.Err()
}

// OnBus is what the bus knows of a session, with who and when. Its error wraps
// ErrNotFound if that is nothing.
func (l *Library) OnBus(ctx context.Context, sid string) (Info, error) {
	if l.Conn == nil {
		return Info{}, fmt.Errorf("find session %s: %w", sid, ErrNotFound)
	}
	i, err := l.findOnBus(ctx, sid)
	if err == nil {
		l.describeOne(ctx, &i)
	}
	return i, err
}

// LastOf is the sequence of the newest message of partition p's stream. While it is
// the same, nothing has come.
func (l *Library) LastOf(ctx context.Context, p int) (uint64, error) {
	info, err := l.streamInfo(ctx, bus.EventStream(p))
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// SessionsOf is the sessions that partition p's stream has messages of. It costs
// the server a look at each.
func (l *Library) SessionsOf(ctx context.Context, p int) ([]string, error) {
	info, err := l.streamInfo(ctx, bus.EventStream(p), jetstream.WithSubjectFilter(bus.EventSubject(p, "*", "*")))
	if err != nil {
		return nil, err
	}
	sids := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		if _, _, sid, err := bus.ParseEventSubject(subject); err == nil {
			sids = append(sids, sid)
		}
	}
	return sids, nil
}

// LogLast is the sequence of the newest record of the upload logs.
func (l *Library) LogLast(ctx context.Context) (uint64, error) {
	info, err := l.streamInfo(ctx, bus.StreamUploads)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

func (l *Library) streamInfo(ctx context.Context, name string, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	stream, err := l.Conn.JetStream().Stream(ctx, name)
	var info *jetstream.StreamInfo
	if err == nil {
		info, err = stream.Info(ctx, opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return info, nil
}

// stepFilter matches the upload logs of all sessions, without checkpoints.
const stepFilter = "tapedeck.uploads.*.s.*"

// Steps yields what becomes of sessions, as their upload logs tell it after record
// after: each Info is as of one record, and does not say who and when. It goes on
// until ctx is done or an error, which comes last.
func (l *Library) Steps(ctx context.Context, after uint64) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := l.steps(ctx, after, yield); err != nil {
			yield(Info{}, fmt.Errorf("follow the upload logs: %w", err))
		}
	}
}

func (l *Library) steps(ctx context.Context, after uint64, yield func(Info, error) bool) error {
	js := l.Conn.JetStream()
	cons, err := js.OrderedConsumer(ctx, bus.StreamUploads, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{stepFilter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		HeadersOnly: true, MaxResetAttempts: 2,
	})
	if err != nil {
		return err
	}
	defer func() {
		// It would go by itself, but only after minutes.
		if info := cons.CachedInfo(); info != nil {
			_ = js.DeleteConsumer(context.WithoutCancel(ctx), bus.StreamUploads, info.Name)
		}
	}()
	msgs, err := cons.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	for {
		msg, err := msgs.Next()
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		var st bus.SessionState
		if json.Unmarshal([]byte(msg.Headers().Get(bus.HeaderState)), &st) != nil || st.V > bus.LogVersion || st.SID == "" {
			continue // of a later version; the session shows when it is finished
		}
		if !yield(logged{state: st, kind: msg.Headers().Get(bus.HeaderKind)}.info(), nil) {
			return nil
		}
	}
}
