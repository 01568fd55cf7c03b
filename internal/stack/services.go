package stack

import (
	"context"
	"errors"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
)

// A service runs until its context is done, and then finishes what it must.
type service struct {
	name string
	run  func(context.Context) error
}

// services are all that run in the stack. The servers are among them, so that
// one that ends by itself ends the stack.
func (s *running) services() ([]service, error) {
	sc, cc := slicer.DefaultConfig(), completer.DefaultConfig()
	cc.OwnBucket = true
	if s.cfg.Slicer != nil {
		sc = *s.cfg.Slicer
	}
	if s.cfg.Completer != nil {
		cc = *s.cfg.Completer
	}
	slices, err := slicer.New(sc, slicer.Deps{
		Conn: s.conn, Layout: s.info.Layout, Store: s.store, Log: s.cfg.Log.With("service", "slicer"),
		Meter: s.tel.Meter, Tracer: s.tel.Tracer.Tracer("tapedeck"),
	})
	if err != nil {
		return nil, err
	}
	completes, err := completer.New(cc, completer.Deps{
		Conn: s.conn, Layout: s.info.Layout, Store: s.store, Bucket: Bucket, Log: s.cfg.Log.With("service", "completer"),
		Meter: s.tel.Meter, Tracer: s.tel.Tracer.Tracer("tapedeck"),
	})
	if err != nil {
		return nil, err
	}
	ac := accesslog.DefaultConfig()
	ac.Sinks = []accesslog.SinkConfig{{Kind: accesslog.KindS3, Name: accesslog.KindS3}, {Kind: accesslog.KindParquet, Name: accesslog.KindParquet}}
	if s.cfg.AccessLog != nil {
		ac = *s.cfg.AccessLog
	}
	access, err := accesslog.New(ac, accesslog.Deps{
		Conn: s.conn, Layout: s.info.Layout, Store: s.store, Log: s.cfg.Log.With("service", "accesslog"),
		Meter: s.tel.Meter, Tracer: s.tel.Tracer.Tracer("tapedeck"),
	})
	if err != nil {
		return nil, err
	}
	s.tel.Health.Add("slicer", slices.Checks())
	s.tel.Health.Add("completer", completes.Checks())
	s.tel.Health.Add("accesslog", access.Checks())
	return []service{
		{"slicer", slices.Run},
		{"completer", completes.Run},
		{"accesslog", access.Run},
		{"seek index", s.indexer().Run},
		{"NATS server", s.watchNATS},
		{"S3 gateway", s.watchS3},
		{"space watch", s.watchSpace},
	}, nil
}

// indexer makes the seek indexes of finished recordings: as they are finished, and
// when somebody looks at one that has none.
func (s *running) indexer() *seekindex.Worker {
	if s.indexes == nil {
		lib := &recording.Library{Store: s.store, Conn: s.conn, Layout: s.info.Layout}
		s.indexes = seekindex.NewWorker(lib, s.store, s.cfg.Log.With("service", "seekindex"))
	}
	return s.indexes
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
