package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What follows is the life of the first message in a stream's queue:
//
//	send    claims bytes in flight, and publishes when they are granted
//	answered   stored: the next one. refused: ask (resolve), put off, or fail
//	expired    no answer in time, or put off long enough: again
//
// All of it runs under the stream's lock.

// send begins with the first message unless one is under way.
func (s *Stream) send() {
	if s.busy || s.err != nil || len(s.queue) == 0 {
		return
	}
	s.busy = true
	s.claim()
}

func (s *Stream) claim() {
	var ok bool
	if s.token, ok = s.p.claim(s, s.token, len(s.queue[0].body)+headerRoom); ok {
		s.publish()
	}
}

// headerRoom is about what a message has besides its records.
const headerRoom = 256

// granted is the answer to a claim that had to wait.
func (s *Stream) granted(token uint64) {
	if s.token != token || s.sent {
		s.grants = append(s.grants, s.p.release(token, s.token != token)...)
		return
	}
	s.publish()
}

// publish sends the message, or lines it up with those of other sessions.
func (s *Stream) publish() {
	m := s.queue[0]
	if m.msg == nil {
		m.msg = s.build(m)
	}
	if !s.heard.IsZero() && time.Since(s.heard) > s.p.o.MaxSilence && s.p.c.nc.IsConnected() {
		s.enquire()
		return
	}
	if m.alone || len(m.body) > maxBatched || !s.p.c.nc.IsConnected() {
		s.transmit()
		return
	}
	now, gs := s.p.lineUp(s)
	s.grants = append(s.grants, gs...)
	if now {
		s.transmit()
	}
}

// transmit sends the first message by itself.
func (s *Stream) transmit() {
	m := s.queue[0]
	s.sent, s.batch = true, nil
	s.after(s.ackTimeout())
	if !s.p.c.nc.IsConnected() {
		s.waits(errNotConnected) // onConnected sends it
		return
	}
	m.msg.Reply = s.p.replyTo(s.token)
	m.out = true
	switch err := s.p.c.nc.PublishMsg(m.msg); {
	case err == nil:
	case errors.Is(err, nats.ErrMaxPayload):
		s.fail(s.errorf("message of %d bytes: %w: the server takes %d", len(m.body), ErrTooLarge, s.p.c.nc.MaxPayload()))
	case errors.Is(err, nats.ErrConnectionClosed):
		s.fail(s.errorf("connection: %w", ErrClosed))
	default:
		s.waits(err)
	}
}

// build makes the message as it is sent, again and again if need be.
func (s *Stream) build(m *message) *nats.Msg {
	h := nats.Header{
		HeaderVersion: {strconv.Itoa(MessageVersion)},
		HeaderWriter:  {s.writer},
	}
	if m.control == ControlNone {
		h[HeaderFirst] = []string{strconv.FormatInt(m.first, 10)}
	} else {
		h[HeaderControl] = []string{string(m.control)}
		h[HeaderCount] = []string{strconv.FormatInt(m.next, 10)}
	}
	if m.to != "" {
		h[HeaderTo] = []string{m.to}
	}
	if m.note != "" {
		h[HeaderNote] = []string{m.note}
	}
	if s.trace != "" && (s.acked == 0 || m.control != ControlNone) {
		h[HeaderTrace] = []string{s.trace}
	}
	msg := &nats.Msg{Subject: s.subject, Header: h, Data: m.body}
	s.expect(msg)
	return msg
}

// expect says which message this one must follow.
func (s *Stream) expect(msg *nats.Msg) {
	msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(s.last, 10)}
}

// resend publishes again what went out on a connection that was lost, or waited
// for one.
func (s *Stream) resend(token uint64) {
	if s.token == token && s.sent && s.err == nil {
		s.round++ // if it is to wait for its turn, no timer must have it wait twice
		s.sent, s.batch = false, nil
		if s.doubt(); !s.queue[0].out {
			s.tries = 0 // to wait for a connection is no try
		}
		s.p.again(token)
		s.publish()
	}
}

// doubt: if the first message went out it may be stored, and a batch with a
// message that is stored already is refused whole.
func (s *Stream) doubt() { s.queue[0].alone = s.queue[0].alone || s.queue[0].out }

func (s *Stream) ackTimeout() time.Duration {
	return min(s.p.o.AckTimeout<<min(s.tries, 8), max(30*time.Second, s.p.o.AckTimeout))
}

// after calls expired in d, unless something else happens first.
func (s *Stream) after(d time.Duration) {
	s.round++
	round := s.round
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.unlock()
		if s.round == round && s.err == nil {
			s.expired()
		}
	})
}

// expired: a message without an answer keeps its token, so that a late one
// counts, but not its bytes, which another partition may have use for.
func (s *Stream) expired() {
	if s.sent {
		s.tries++
		s.sent, s.batch = false, nil
		s.doubt()
		s.waits(fmt.Errorf("no acknowledgement within %s", s.p.o.AckTimeout))
		s.grants = append(s.grants, s.p.release(s.token, false)...)
	}
	s.claim()
}

// rest ends what is under way for the first message.
func (s *Stream) rest() {
	s.round++
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.token != 0 {
		s.grants = append(s.grants, s.p.release(s.token, true)...)
	}
	s.token, s.sent, s.batch = 0, false, nil
}

// putOff sends the message again after a while that grows.
func (s *Stream) putOff(why error) {
	s.waits(why)
	d := min(10*time.Millisecond<<min(s.tries, 8), 2*time.Second)
	s.tries++
	s.doubt()
	s.after(d/2 + rand.N(d))
}

func (s *Stream) waits(why error) {
	s.waiting = why
	s.p.waits(s, why)
}

// advance: the first message is in the stream, with sequence seq.
func (s *Stream) advance(seq uint64) {
	m := s.queue[0]
	s.last = seq
	s.stored = m.next
	s.p.eventsStored.Add(m.next - m.first) // of a control message 0
	s.bytes -= len(m.body)
	putBody(m)
	s.queue[0] = nil
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	s.acked++
	s.tries, s.busy, s.waiting, s.heard = 0, false, nil, time.Now()
	s.change()
	if s.ended() {
		s.fail(s.errorf("%w", ErrEnded))
		return
	}
	s.send()
}

// answered takes the bus's answer to the message with the token.
func (s *Stream) answered(token uint64, reply *nats.Msg) {
	if s.token != token || s.err != nil {
		return
	}
	seq, refused := parseAck(reply)
	if refused == nil {
		s.p.answered(token)
	}
	s.rest()
	if refused == nil {
		s.p.stored.Add(1)
		s.advance(seq)
		return
	}
	var api *jetstream.APIError
	if !errors.As(refused, &api) {
		s.putOff(refused)
		return
	}
	switch api.ErrorCode {
	case codeWrongLast:
		s.ask(lastOf(api))
	case codeTooLong, codeHeaderTooLong:
		s.fail(s.errorf("message of %d bytes: %w: %w", len(s.queue[0].body), ErrTooLarge, api))
	case codeSealed:
		s.fail(s.errorf("%w", api))
	default:
		s.putOff(refused)
	}
}

// Error codes of JetStream. All that are not here are waited out: a stream that
// is full (10077, 10047), one write at a time on a subject (10164), no leader.
const (
	codeWrongLast     jetstream.ErrorCode = 10071
	codeTooLong       jetstream.ErrorCode = 10054
	codeHeaderTooLong jetstream.ErrorCode = 10097
	codeSealed        jetstream.ErrorCode = 10109
)

var errNoResponder = errors.New("no stream answers for the subject")

func parseAck(m *nats.Msg) (seq uint64, err error) {
	if len(m.Data) == 0 {
		if m.Header.Get("Status") == "503" {
			return 0, errNoResponder
		}
		return 0, fmt.Errorf("empty acknowledgement, status %q", m.Header.Get("Status"))
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("read acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 {
		return 0, errors.New("acknowledgement without a sequence")
	}
	return ack.Seq, nil
}

// lastOf is the sequence that the server says the subject's last message has.
// It says so in its text only; -1 if it does not.
func lastOf(e *jetstream.APIError) int64 {
	i := strings.LastIndexByte(e.Description, ' ')
	n, err := strconv.ParseInt(e.Description[i+1:], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Bodies of busy sessions are used again. Those of sessions that send one event
// now and then are as small as the event, and are left to the collector.
var bodies sync.Pool

const minPooled = 16 << 10

func getBody() []byte {
	if b, ok := bodies.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func putBody(m *message) {
	if b := m.body; cap(b) >= minPooled && cap(b) <= 256<<10 {
		bodies.Put(&b)
	}
	m.body, m.msg = nil, nil
}
