package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
)

// PublisherOptions tune a [Publisher]. The zero value is right for most.
//
// What a stream does when the bus takes no events is to wait: the policy named
// block. Other policies stand in front of a Stream, which tells them all that
// they need: Append with a ctx that ends, [Stream.Waiting], [Stream.Stored].
type PublisherOptions struct {
	Logger      *slog.Logger  // nil: discard
	MaxMessage  int           // bytes of records in a message, 64 KiB; a single record may be more
	MaxInFlight int           // bytes sent and not acknowledged, all sessions together, 8 MiB: more overruns the client's buffer and the server cuts the connection
	MaxQueue    int           // bytes of one session that wait, in flight or not, 256 KiB; then Append waits
	AckTimeout  time.Duration // before a message is sent again, 5 s; doubles with each time, up to 30 s
	MaxSilence  time.Duration // after which a session reads in its upload log whether it has been abandoned before it goes on, 45 min: less than the slicers' abandon time (1 h), more than what alive messages leave
	Meter       metric.Meter  // nil: nothing is measured
	MaxBatch    int           // messages in an atomic batch, 500, at most 1,000: the server's check of a batch grows with its square; 1 turns batches off
}

func (o PublisherOptions) withDefaults() PublisherOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 10
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 8 << 20
	}
	if o.MaxQueue <= 0 {
		o.MaxQueue = 256 << 10
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 5 * time.Second
	}
	if o.MaxSilence <= 0 {
		o.MaxSilence = 45 * time.Minute
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 500
	}
	o.MaxBatch = min(o.MaxBatch, serverMaxBatch)
	return o
}

// A Publisher publishes the events of any number of sessions over one
// connection, which should have no other publisher. It is safe for concurrent use. A session that is idle costs it
// some hundred bytes, no goroutine and no timer.
//
// It works without goroutines of its own: acknowledgements drive it, on the one
// that nats.go has for their subscription. Only finding out why a publish was
// refused takes a goroutine, for as long as it lasts.
type Publisher struct {
	c     *Conn
	l     Layout
	o     PublisherOptions
	inbox string // prefix of the reply subjects; the token follows

	ctx    context.Context // of the goroutines that ask why
	cancel context.CancelFunc
	wg     sync.WaitGroup
	asking chan struct{} // bounds the requests that are under way

	stored, batched      atomic.Uint64 // see PublisherStats
	eventsStored, failed atomic.Int64
	unmeasure            func()

	mu       sync.Mutex // taken after a Stream's
	started  bool
	err      error // nothing can be published any more
	sub      *nats.Subscription
	unlisten func()
	streams  map[*Stream]struct{}
	pending  map[uint64]claim  // messages whose acknowledgement would be of use, by token
	lanes    map[int]*lane     // by partition
	batches  map[uint64]*batch // in flight, by token
	token    uint64
	inFlight int
	waiters  []waiter
	warned   time.Time
}

// A claim is a message's share of the bytes in flight; 0 while it waits for it.
type claim struct {
	s     *Stream
	bytes int
	lane  *lane     // of which it is one of the singles; nil if it is not
	sent  time.Time // as one of these
}

type waiter struct {
	token uint64
	bytes int
}

// A grant tells a stream that its message may go now, or several streams that
// theirs may go together.
type grant struct {
	s     *Stream
	token uint64
	now   bool // by itself, whatever else waits
	lane  *lane
	batch []grant // of the lane; s is nil
}

// NewPublisher makes a publisher for the installation with layout l, of which
// it uses the number of partitions. It does nothing until a session is opened.
func NewPublisher(c *Conn, l Layout, o PublisherOptions) *Publisher {
	ctx, cancel := context.WithCancel(context.Background())
	return &Publisher{
		c: c, l: l, o: o.withDefaults(), inbox: c.nc.NewInbox() + ".",
		ctx: ctx, cancel: cancel,
		streams: map[*Stream]struct{}{}, pending: map[uint64]claim{},
		asking: make(chan struct{}, maxAsking), lanes: map[int]*lane{}, batches: map[uint64]*batch{},
	}
}

// Open begins session sid of node. Nothing is published yet; that the session
// exists already is found at the first event, as an [ErrConflict]. Its error
// wraps [ErrName] if a name is not valid. If ctx has a span that is recorded, it
// becomes the parent of what slicers and completers do for the session.
func (p *Publisher) Open(ctx context.Context, node, sid string) (*Stream, error) {
	return p.OpenAt(ctx, node, sid, 0)
}

// OpenAt is Open for the node that goes on with a session that another handed
// over to it, at event index next.
func (p *Publisher) OpenAt(ctx context.Context, node, sid string, next int64) (*Stream, error) {
	return p.open(ctx, node, sid, next, 0)
}

func (p *Publisher) open(ctx context.Context, node, sid string, next int64, last uint64) (*Stream, error) {
	if err := validNames(node, sid); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	if next < 0 {
		return nil, fmt.Errorf("open session %s at %d: %w", sid, next, ErrIndex)
	}
	if p.l.Partitions < 1 {
		return nil, fmt.Errorf("open session %s: the layout has no partitions; it must come from Ensure or Inspect", sid)
	}
	s := newStream(p, node, sid, next, last)
	s.trace = Trace(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("open session %s: %w", sid, err)
	}
	p.streams[s] = struct{}{}
	return s, nil
}

// start subscribes to the acknowledgements, with the first session.
func (p *Publisher) start() error {
	if p.err != nil || p.started {
		return p.err
	}
	unmeasure, err := p.measure(p.o.Meter)
	if err != nil {
		return err
	}
	p.unmeasure = unmeasure
	// Before the subscription, which the server may deny at once and only once.
	p.unlisten = p.c.listen(&listener{denied: p.onDenied, connected: p.onConnected, waiting: func() int64 { return p.census().waiting }})
	if p.sub, err = p.subscribe(); err != nil {
		p.unlisten()
		p.unlisten = nil
		return fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	p.started = true
	return nil
}

func (p *Publisher) subscribe() (*nats.Subscription, error) {
	sub, err := p.c.nc.Subscribe(p.inbox+"*", p.onReply)
	if err != nil {
		return nil, err
	}
	// There is at most one reply for each publish, so they bound themselves.
	return sub, sub.SetPendingLimits(-1, -1)
}

// Close lets go of all sessions, which stay open on the bus. What was not
// acknowledged may or may not be stored; flush first.
func (p *Publisher) Close() {
	p.shut(fmt.Errorf("publisher: %w", ErrClosed))
	p.cancel()
	p.wg.Wait()
}

// shut fails all streams, those that come included.
func (p *Publisher) shut(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	streams := make([]*Stream, 0, len(p.streams))
	for s := range p.streams {
		streams = append(streams, s)
	}
	sub, unlisten, unmeasure := p.sub, p.unlisten, p.unmeasure
	p.sub, p.unlisten, p.unmeasure = nil, nil, nil
	for token, b := range p.batches {
		b.timer.Stop()
		delete(p.batches, token)
	}
	p.mu.Unlock()
	if unlisten != nil {
		unlisten()
		_ = sub.Unsubscribe() // fails only on a closed connection
	}
	if unmeasure != nil {
		unmeasure()
	}
	for _, s := range streams {
		s.mu.Lock()
		s.fail(err)
		s.unlock()
	}
}

// claim asks for the right to send n bytes of s. With token 0 it makes one. If
// the bytes must wait, ok is false and s is granted the token later.
func (p *Publisher) claim(s *Stream, token uint64, n int) (_ uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if token == 0 {
		p.token++
		token = p.token
	}
	if p.pending[token].bytes > 0 {
		return token, true // a try that was put off before it went out still has them
	}
	if len(p.waiters) > 0 || !p.fits(n) {
		p.pending[token] = claim{s: s}
		p.waiters = append(p.waiters, waiter{token, n})
		return token, false
	}
	p.pending[token] = claim{s: s, bytes: n}
	p.inFlight += n
	return token, true
}

func (p *Publisher) fits(n int) bool { return p.inFlight == 0 || p.inFlight+n <= p.o.MaxInFlight }

// release gives back the bytes of a token and says who may go instead. With
// forget, an answer to it is of no use any more.
func (p *Publisher) release(token uint64, forget bool) []grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.pending[token]
	if !ok {
		return nil
	}
	p.inFlight -= c.bytes
	if forget {
		delete(p.pending, token)
	} else {
		p.pending[token] = claim{s: c.s}
	}
	var gs []grant
	if c.lane != nil {
		c.lane.singles--
		gs = p.next(c.lane)
	}
	for len(p.waiters) > 0 && p.fits(p.waiters[0].bytes) {
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		c, ok := p.pending[w.token]
		if !ok || c.bytes > 0 {
			continue // answered or granted since
		}
		p.pending[w.token] = claim{s: c.s, bytes: w.bytes}
		p.inFlight += w.bytes
		gs = append(gs, grant{s: c.s, token: w.token})
	}
	return gs
}

func (p *Publisher) dispatch(gs []grant) {
	for len(gs) > 0 {
		g := gs[0]
		if g.batch != nil {
			gs = append(gs[1:], p.sendBatch(g.lane, g.batch)...)
			continue
		}
		g.s.mu.Lock()
		if g.now {
			g.s.goAhead(g.token)
		} else {
			g.s.granted(g.token)
		}
		gs = append(gs[1:], g.s.takeGrants()...)
		g.s.mu.Unlock()
	}
}

// forget lets go of a stream that failed or was closed.
func (p *Publisher) forget(s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, s)
}

func (p *Publisher) onReply(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, p.inbox), 36, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	c, ok := p.pending[token]
	b := p.batches[token]
	p.mu.Unlock()
	if b != nil {
		p.batchAnswered(b, m)
		return
	}
	if !ok {
		return // the other answer to a message that was sent twice
	}
	c.s.mu.Lock()
	c.s.answered(token, m)
	c.s.unlock()
}

// answered learns from an answer that a message was stored.
func (p *Publisher) answered(token uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.pending[token]; c.lane != nil {
		c.lane.pace.answered(time.Now(), c.sent, c.lane.singles)
	}
}

// again: a message is sent once more, on a new connection.
func (p *Publisher) again(token uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.pending[token]; c.lane != nil {
		c.sent = time.Now()
		p.pending[token] = c
	}
}

func (p *Publisher) replyTo(token uint64) string { return p.inbox + strconv.FormatUint(token, 36) }

// onDenied fails the streams that wait for an answer that will not come.
func (p *Publisher) onDenied(d denial) {
	if d.subscribe {
		if d.subject == p.inbox+"*" {
			p.shut(d.err())
		}
		return
	}
	for _, g := range p.inDoubt() {
		if g.s.subject != d.subject {
			continue
		}
		g.s.mu.Lock()
		g.s.fail(g.s.errorf("%w", d.err()))
		g.s.unlock()
	}
}

// onConnected sends again what the old connection may have lost.
func (p *Publisher) onConnected() {
	old := p.batchesInFlight()
	for _, g := range p.inDoubt() {
		g.s.mu.Lock()
		g.s.resend(g.token)
		g.s.unlock()
	}
	for _, b := range old { // their messages have been sent again
		p.dispatch(p.leave(b))
	}
}

// inDoubt are the messages in flight.
func (p *Publisher) inDoubt() []grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	gs := make([]grant, 0, len(p.pending))
	for token, c := range p.pending {
		if c.bytes > 0 {
			gs = append(gs, grant{s: c.s, token: token})
		}
	}
	return gs
}

// waits logs now and then that sessions wait: one line for all of them, since
// what stops one mostly stops many.
func (p *Publisher) waits(s *Stream, err error) {
	p.o.Logger.Debug("publishing waits", "session", s.sid, "err", err)
	p.mu.Lock()
	quiet := time.Since(p.warned) < 10*time.Second
	if !quiet {
		p.warned = time.Now()
	}
	n := len(p.pending)
	p.mu.Unlock()
	if !quiet {
		p.o.Logger.Warn("publishing waits", "session", s.sid, "in_flight", n, "err", err)
	}
}

var errNotConnected = errors.New("not connected to NATS")
