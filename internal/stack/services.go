package stack

import (
	"context"
	"errors"
	"time"
)

// A service runs until its context is done, and then finishes what it must.
type service struct {
	name string
	run  func(context.Context) error
}

// services are all that run in the stack. The servers are among them, so that
// one that ends by itself ends the stack.
func (s *running) services() ([]service, error) {
	return []service{
		{"NATS server", s.watchNATS},
		{"S3 gateway", s.watchS3},
		{"space watch", func(ctx context.Context) error {
			watchSpace(ctx, s.cfg.Dir, s.info.Layout.Total(), s.cfg.Log)
			return nil
		}},
	}, nil
}

// watchNATS ends when the server does. It also ends when the server has turned
// JetStream off, which it does by itself when it cannot write.
func (s *running) watchNATS(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.nats.Server().JetStreamEnabled() {
			return errors.New("it has turned JetStream off: look for disk errors in the log, and at the free space")
		}
	}
}

func (s *running) watchS3(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.s3.Done():
		return errors.New("it stopped")
	}
}
