package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Produce is the work of one producer: slots that each record one session after
// the other. It remembers in State, a file with a line for each session that the
// bus has whole, and may be killed at any moment.
type Produce struct {
	NATS     []string
	Seed     uint64
	Producer int
	Slots    int
	State    string
	Limit    int // sessions a slot; 0: no limit
}

// produceChild runs a producer until its standard input ends; then sessions under
// way are finished and no more begun. Told to stop by a signal it leaves them as they
// are, with all that it has said of them on the bus, for the one that comes next.
func produceChild(p Produce) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	stop := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		close(stop)
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := p.run(ctx, stop, log)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || bus.Away(err)) {
		return nil // it was interrupted
	}
	return err
}

func (p Produce) run(ctx context.Context, stop <-chan struct{}, log *slog.Logger) error {
	done, err := readState(p.State)
	if err != nil {
		return err
	}
	state, err := os.OpenFile(p.State, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer state.Close()
	conn, err := bus.Connect(ctx, bus.Options{URL: p.NATS, Name: fmt.Sprintf("producer %d", p.Producer), Wait: time.Minute}, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	for ; err != nil; layout, err = bus.Inspect(ctx, conn) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Warn("layout not read", "err", err)
		sleep(ctx, time.Second)
	}
	pub := bus.NewPublisher(conn, layout, bus.PublisherOptions{Logger: log, AckTimeout: 2 * time.Second})
	defer pub.Close()
	var wg sync.WaitGroup
	for slot := range p.Slots {
		wg.Go(func() {
			for n := 0; p.Limit == 0 || n < p.Limit; n++ {
				s := NewSession(SessionID(p.Seed, p.Producer, slot, n))
				if done[s.ID] {
					continue
				}
				if !p.session(ctx, pub, s, stop, log) {
					return
				}
				// One write, so that a kill leaves a whole line or none.
				if _, err := fmt.Fprintf(state, "%s\n", s.ID); err != nil {
					log.Error("state not written", "err", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// session records one session, for as long as it takes. It returns false if the
// session was never begun and is not to be, or if ctx is done.
func (p Produce) session(ctx context.Context, pub *bus.Publisher, s Session, stop <-chan struct{}, log *slog.Logger) bool {
	node := nodeOf(s.ID)
	for {
		out, next, err := pub.Resume(ctx, node, s.ID)
		if errors.Is(err, bus.ErrNoSession) {
			select {
			case <-stop:
				return false
			default:
			}
			next = 0
			out, err = pub.Open(ctx, node, s.ID)
		}
		if errors.Is(err, bus.ErrEnded) {
			return true
		}
		if err == nil {
			if err = s.play(ctx, out, next); err == nil {
				err = out.End(ctx)
			}
			if err == nil {
				return true
			}
			letGo(ctx, out)
		}
		log.Warn("session interrupted", "session", s.ID, "next", next, "err", err)
		sleep(ctx, 200*time.Millisecond)
		if ctx.Err() != nil {
			return false
		}
	}
}

// letGo closes what publishes a session: at once after an error, and once all is on
// the bus, if that is soon, when the producer leaves.
func letGo(ctx context.Context, out *bus.Stream) {
	patience := time.Duration(0)
	if ctx.Err() != nil {
		patience = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = out.Close(ctx)
}

// nodeOf is the node that a session runs on.
func nodeOf(sid string) string { return fmt.Sprintf("node-%d", len(sid)%3) }

// readState reads the ids of sessions that the bus has whole, of any number of
// producers. A last line without its end was cut off by a kill and does not count.
func readState(paths ...string) (map[string]bool, error) {
	done := map[string]bool{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		start := 0
		for i, c := range b {
			if c == '\n' {
				done[string(b[start:i])] = true
				start = i + 1
			}
		}
	}
	return done, nil
}
