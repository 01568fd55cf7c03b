package accesslog

import (
	"crypto/rand"
	"encoding/hex"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// A Flow is who reaches what.
type Flow struct {
	Resource int64
	Source   netip.AddrPort // of the peer; see [AddrPort]
	Dest     string         // host:port, [v6]:port
	Protocol string         // TCP or UDP; default TCP
	User     string         // if known
}

// A Session is one connection, or one UDP flow, that a tracker follows. Its
// methods may be called from several goroutines.
type Session struct {
	b        *burst
	flow     netip.AddrPort // of a UDP session: the source
	packets  *PacketConn    // of a UDP session
	last     atomic.Int64   // of a UDP session: when the last packet passed
	over     atomic.Bool    // written under the tracker's lock
	afterEnd []func()
	timer
}

// A burst is what the records call a session: one connection, or several that
// were merged. But for the counters, all that changes is under the tracker's lock.
type burst struct {
	t       *Tracker
	key     burstKey
	id      string
	source  string
	started time.Time // no monotonic clock
	begun   int64     // the same moment by the tracker's clock
	tx, rx  atomic.Int64

	conns, open int64
	seq         int64
	lastEnd     int64 // of its connections
	reason      Reason
	nextAlive   int64
	over        bool
	newest      *entry // its newest record, if the spool has it
	timer
}

// A burstKey is what connections must have in common to be merged.
type burstKey struct {
	source   netip.Addr
	dest     string
	protocol string
	user     string
	resource int64
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// clip keeps a text of somebody else's within what a record may have.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}

// start begins a session; under the lock.
func (t *Tracker) start(f Flow) *Session {
	now := t.now()
	source := unmap(f.Source)
	key := burstKey{source.Addr(), clip(formatAddr(f.Dest)), TCP, clip(f.User), f.Resource}
	if f.Protocol == UDP {
		key.protocol = UDP
	}
	s := &Session{}
	s.owner, s.index = s, -1
	s.b = t.bursts[key]
	if s.b != nil && s.b.open == 0 && now > s.b.lastEnd+int64(t.cfg.Merge) {
		t.finish(s.b) // the keeper is about to
		s.b = nil
	}
	if s.b == nil {
		s.b = t.begin(key, source, now)
	}
	s.b.open++
	s.b.conns++
	t.reset(s.b)
	return s
}

func (t *Tracker) begin(key burstKey, source netip.AddrPort, now int64) *burst {
	b := &burst{t: t, key: key, id: newID(), started: t.wall(now), begun: now}
	b.owner, b.index = b, -1
	if source.IsValid() {
		b.source = source.String()
	}
	b.nextAlive = now + t.aliveIn()
	if t.cfg.Merge > 0 {
		t.bursts[key] = b
	}
	t.open++
	t.add(b, b.record(KindStart, now))
	return b
}

// aliveIn is the time to the next heartbeat: Alive, or up to a tenth less.
func (t *Tracker) aliveIn() int64 {
	d := int64(t.cfg.Alive)
	return d - mathrand.Int64N(d/10+1)
}

// record is what is known now, as the next record of the session.
func (b *burst) record(k Kind, now int64) Record {
	r := b.known(k)
	r.Seq = b.seq
	b.seq++
	if k == KindEnd {
		r.EndedAt, r.Reason = b.started.Add(time.Duration(now-b.begun)), b.reason
	}
	return r
}

func (b *burst) known(k Kind) Record {
	r := Record{
		SessionID: b.id, ResourceID: b.key.resource, SourceAddr: b.source, DestAddr: b.key.dest, Protocol: b.key.protocol,
		StartedAt: b.started, BytesTx: b.tx.Load(), BytesRx: b.rx.Load(),
		Kind: k, User: b.key.user, Node: b.t.cfg.Node,
	}
	if b.conns > 1 {
		r.ConnectionCount = b.conns
		if b.source != "" {
			r.SourceAddr = b.key.source.String()
		}
	}
	return r
}

// end ends one connection at the time at; under the lock. It returns what is to
// be called without the lock.
func (t *Tracker) end(s *Session, why Reason, at int64) []func() {
	if s.over.Load() {
		return nil
	}
	s.over.Store(true)
	t.due.remove(&s.timer)
	if s.packets != nil {
		delete(t.flows, s.packets.key(s.flow))
	}
	b := s.b
	b.open--
	if at >= b.lastEnd {
		b.lastEnd, b.reason = at, why
	}
	if b.open == 0 && (t.cfg.Merge == 0 || t.stopped || t.now() > b.lastEnd+int64(t.cfg.Merge)) {
		t.finish(b)
	} else {
		t.reset(b)
	}
	calls := s.afterEnd
	s.afterEnd = nil
	return calls
}

// finish ends the burst; under the lock.
func (t *Tracker) finish(b *burst) {
	if b.over {
		return
	}
	b.over = true
	t.due.remove(&b.timer)
	if t.bursts[b.key] == b {
		delete(t.bursts, b.key)
	}
	t.open--
	t.add(b, b.record(KindEnd, b.lastEnd))
}

// reset puts the burst where its next moment is; under the lock.
func (t *Tracker) reset(b *burst) {
	at := b.nextAlive
	if b.open == 0 {
		at = b.lastEnd + int64(t.cfg.Merge)
	}
	t.schedule(&b.timer, at)
}

// fire is called at the burst's moment: a heartbeat, or the end of its last pause.
func (b *burst) fire(t *Tracker, now int64) []func() {
	if b.open == 0 {
		t.finish(b)
		return nil
	}
	b.nextAlive = now + t.aliveIn()
	t.add(b, b.record(KindAlive, now))
	t.reset(b)
	return nil
}

// fire is called when a UDP session may have been idle for long enough.
func (s *Session) fire(t *Tracker, now int64) []func() {
	last := s.last.Load()
	if until := last + int64(t.cfg.Idle); now < until {
		t.schedule(&s.timer, until)
		return nil
	}
	return t.end(s, ReasonIdle, last)
}

// ID is the session's id in its records. Merged connections share one.
func (s *Session) ID() string { return s.b.id }

// Bytes are those counted so far, of all merged connections: what the source
// sent, and what it was sent.
func (s *Session) Bytes() (tx, rx int64) { return s.b.tx.Load(), s.b.rx.Load() }

// Ended says whether the session is over.
func (s *Session) Ended() bool { return s.over.Load() }

// End ends the session now. Only the first end counts. Closing a [Conn] does it.
func (s *Session) End(why Reason) {
	t := s.b.t
	t.mu.Lock()
	at := t.now()
	if s.packets != nil {
		at = s.last.Load()
	}
	calls := t.end(s, why, at)
	t.mu.Unlock()
	call(calls)
}

// AfterEnd has f called once when End was called or the tracker has ended a UDP
// session; at once if that is past. f must not block. A proxy closes here what
// it opened for a UDP session.
func (s *Session) AfterEnd(f func()) {
	t := s.b.t
	t.mu.Lock()
	over := s.over.Load()
	if !over {
		s.afterEnd = append(s.afterEnd, f)
	}
	t.mu.Unlock()
	if over {
		f()
	}
}

func call(fs []func()) {
	for _, f := range fs {
		f()
	}
}
