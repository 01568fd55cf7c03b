package uploadlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Headers of the server that the jetstream package has no name for, and our own.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerTTL         = "Nats-TTL"
	headerNonce       = "Tapedeck-Nonce" // tells the writer of a record that a time-out left in doubt
)

// Error codes of the server that have a meaning of their own here.
const (
	codeNoMessage       = 10037 // nothing at that sequence or subject
	codeWrongSequence   = 10071 // the expected last sequence is not the last
	codeInProcess       = 10164 // a write with an expectation on the same subject is under way
	codeBatchIncomplete = 10176 // a message of the batch was lost on the way
	codeBatchInflight   = 10210 // too many batches at once
)

const (
	writeTimeout = 10 * time.Second // for one answer of the server
	tryFor       = 30 * time.Second // for a write that is tried again
	readTimeout  = 3 * time.Second  // for one answer to a read; reads are tried again
	retryFirst   = 5 * time.Millisecond
	retryMax     = 250 * time.Millisecond
)

// A pubAck is the server's answer to a publish.
type pubAck struct {
	Error *jetstream.APIError `json:"error"`
	Seq   uint64              `json:"seq"`
	Count int                 `json:"count"`
}

// send publishes msgs as one: a single message, or one atomic batch. It returns
// the sequence of the last one. A refusal by the server is a *jetstream.APIError
// and means that nothing is stored; all other errors wrap ErrUnknown.
//
// A batch is staged by the server and its expectations are checked when the last
// message arrives, all under one lock and before any is stored. So an expectation
// that does not hold keeps all of the batch out, wherever in it it stands.
func send(ctx context.Context, conn *bus.Conn, msgs []*nats.Msg) (uint64, error) {
	if failpoint.On() {
		return sendAsAsked(ctx, conn, msgs)
	}
	return exchange(ctx, conn, msgs)
}

// exchange is send without failpoints.
func exchange(ctx context.Context, conn *bus.Conn, msgs []*nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	nc := conn.NATS()
	last := len(msgs) - 1
	if last > 0 {
		id := nuid.Next()
		for i, m := range msgs {
			m.Header.Set(headerBatchID, id)
			m.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
			if i == last {
				m.Header.Set(headerBatchCommit, "1")
				break
			}
			// A message lost here is noticed by the server, which counts them.
			if err := nc.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("publish message %d of a batch of %d: %w: %w", i+1, len(msgs), ErrUnknown, err)
			}
		}
	}
	reply, err := nc.RequestMsgWithContext(ctx, msgs[last])
	if err != nil {
		return 0, fmt.Errorf("publish %s: %w: %w", msgs[last].Subject, ErrUnknown, err)
	}
	var ack pubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("read the answer for %s: %w: %w", msgs[last].Subject, ErrUnknown, err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 || (last > 0 && ack.Count != len(msgs)) {
		return 0, fmt.Errorf("read the answer for %s: %w: %d of %d messages at sequence %d",
			msgs[last].Subject, ErrUnknown, ack.Count, len(msgs), ack.Seq)
	}
	return ack.Seq, nil
}

// apiCode is the server's error code, or 0 if err is none of the server's.
func apiCode(err error) int {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return int(api.ErrorCode)
	}
	return 0
}

// A stored message, as its stream's leader has it.
type stored struct {
	Subject string
	Seq     uint64
	Header  nats.Header
	Data    []byte
	Time    time.Time
}

// apiPrefix is what the client puts before the server's API; its options leave out
// the default.
func apiPrefix(js jetstream.JetStream) string {
	if p := js.Options().APIPrefix; p != "" {
		return p
	}
	return jetstream.DefaultAPIPrefix
}

// getLast reads the newest message of a subject.
func getLast(ctx context.Context, conn *bus.Conn, subject string) (stored, error) {
	return get(ctx, conn, map[string]any{"last_by_subj": subject})
}

// get asks the stream's leader, not any replica, for one message: direct gets may
// be answered by a replica that lags. It returns ErrNotFound if there is none, and
// asks again while there is no answer and ctx is not done.
func get(ctx context.Context, conn *bus.Conn, query map[string]any) (stored, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return stored{}, fmt.Errorf("encode query: %w", err)
	}
	js := conn.JetStream()
	subject := apiPrefix(js) + "STREAM.MSG.GET." + bus.StreamUploads
	var reply *nats.Msg
	for wait := newBackoff(); ; {
		try, cancel := context.WithTimeout(ctx, readTimeout)
		reply, err = js.Conn().RequestWithContext(try, subject, body)
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil || js.Conn().IsClosed() || !wait.sleep(ctx) {
			return stored{}, fmt.Errorf("get %s from %s: %w", body, bus.StreamUploads, err)
		}
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Hdrs    []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return stored{}, fmt.Errorf("get %s from %s: %w", body, bus.StreamUploads, err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == codeNoMessage {
			return stored{}, fmt.Errorf("get %s from %s: %w", body, bus.StreamUploads, ErrNotFound)
		}
		return stored{}, fmt.Errorf("get %s from %s: %w", body, bus.StreamUploads, resp.Error)
	}
	m := stored{Subject: resp.Message.Subject, Seq: resp.Message.Seq, Data: resp.Message.Data, Time: resp.Message.Time}
	if len(resp.Message.Hdrs) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(resp.Message.Hdrs); err != nil {
			return stored{}, fmt.Errorf("get %s from %s: read headers: %w", body, bus.StreamUploads, err)
		}
	}
	return m, nil
}

// A backoff doubles its wait from retryFirst to retryMax.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: retryFirst} }

// sleep waits; false if ctx was done first.
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next)
	defer t.Stop()
	b.next = min(2*b.next, retryMax)
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// message makes the message of a record, with its state in a header.
func message(rec Record) (*nats.Msg, error) {
	st := rec.State
	st.V = bus.LogVersion
	state, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("encode the state of session %s: %w", st.SID, err)
	}
	if len(state) > maxHeader {
		return nil, fmt.Errorf("encode the state of session %s: %w (%d bytes, at most %d)", st.SID, ErrTooLarge, len(state), maxHeader)
	}
	subject := bus.LogSubject(st.Partition, st.SID)
	if rec.Kind == bus.KindCheckpoint {
		subject = bus.CheckpointSubject(st.Partition, st.SID)
	}
	m := nats.NewMsg(subject)
	m.Data = rec.Payload
	m.Header.Set(bus.HeaderKind, rec.Kind)
	m.Header.Set(bus.HeaderState, string(state))
	if rec.TTL > 0 {
		m.Header.Set(headerTTL, strconv.Itoa(int(max(rec.TTL/time.Second, 1)))+"s")
	}
	return m, nil
}

// checkSize refuses a message that the server would refuse by cutting the connection.
func checkSize(conn *bus.Conn, m *nats.Msg) error {
	size, limit := m.Size(), int(conn.NATS().MaxPayload())
	if limit > 0 && size > limit {
		return fmt.Errorf("publish %s: %w (%d bytes, at most %d)", m.Subject, ErrTooLarge, size, limit)
	}
	return nil
}
