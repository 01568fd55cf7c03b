package slicer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// errNoMessage is the leader saying that there is no such message.
var errNoMessage = errors.New("no such message")

// codeNoMessage is the server's for it.
const codeNoMessage = 10037

// A leaderMessage is a message of EVENTS as the stream's leader has it.
type leaderMessage struct {
	Seq  uint64    `json:"seq"`
	Hdrs []byte    `json:"hdrs"`
	Data []byte    `json:"data"`
	Time time.Time `json:"time"`
}

// askLeader reads one message of the partition's stream from its leader. The client
// asks any replica: one that lags says of a message that is there that it is not,
// and then parts would count as lost, or events be trimmed before their time.
func (p *partition) askLeader(ctx context.Context, query map[string]any) (m leaderMessage, err error) {
	body, err := json.Marshal(query)
	if err != nil {
		return m, fmt.Errorf("encode query: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	js, stream := p.deps.Conn.JetStream(), bus.EventStream(p.p)
	prefix := js.Options().APIPrefix
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	reply, err := js.Conn().RequestWithContext(ctx, prefix+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return m, fmt.Errorf("get %s from %s: %w", body, stream, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message leaderMessage       `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return m, fmt.Errorf("get %s from %s: %w", body, stream, err)
	}
	switch {
	case resp.Error != nil && resp.Error.ErrorCode == codeNoMessage:
		return m, fmt.Errorf("get %s from %s: %w", body, stream, errNoMessage)
	case resp.Error != nil:
		return m, fmt.Errorf("get %s from %s: %w", body, stream, resp.Error)
	}
	return resp.Message, nil
}

// maxControls is how many messages without events may come before a session's first.
const maxControls = 16

// findStart returns the session's first message if the bus still has its first event:
// if the first message that has any begins with it. Else it returns 0.
func (p *partition) findStart(ctx context.Context, sid string) (first uint64, err error) {
	subject := fmt.Sprintf("tapedeck.events.%d.*.%s", p.p, sid)
	at := uint64(1)
	for range maxControls {
		m, err := p.askLeader(ctx, map[string]any{"seq": at, "next_by_subj": subject})
		if errors.Is(err, errNoMessage) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the first message of session %s: %w", sid, err)
		}
		if first == 0 {
			first = m.Seq
		}
		headers, _ := nats.DecodeHeadersMsg(m.Hdrs)
		if len(m.Hdrs) > 0 && headers == nil {
			return 0, nil // nobody can say whether it has the first event
		}
		if headers.Get(bus.HeaderControl) == "" {
			if index, ok := firstIndex(bus.Message{Payload: m.Data}); !ok || index != 0 {
				return 0, nil
			}
			return first, nil
		}
		at = m.Seq + 1
	}
	return 0, nil
}

// timeOf is the bus time of a message. One that somebody deleted is as old as can be.
func (p *partition) timeOf(ctx context.Context, seq uint64) (time.Time, error) {
	m, err := p.askLeader(ctx, map[string]any{"seq": seq})
	if errors.Is(err, errNoMessage) {
		return time.Time{}, nil
	}
	return m.Time, err
}
