package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
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
// way are finished and no more begun.
func produceChild(p Produce) error {
	stop := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		close(stop)
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return p.run(context.Background(), stop, log)
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
		log.Warn("layout not read", "err", err)
		time.Sleep(time.Second)
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
// session was never begun and is not to be.
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
			closed, cancel := context.WithCancel(ctx)
			cancel()
			_ = out.Close(closed)
		}
		log.Warn("session interrupted", "session", s.ID, "next", next, "err", err)
		time.Sleep(200 * time.Millisecond)
	}
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
