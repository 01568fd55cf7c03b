// Package site is the installation that a load test drives: one of its own, with
// each service in a process of its own so that what it costs can be told apart from
// what the load generator costs, or one that runs already.
package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A Config says how to run an installation of one's own.
type Config struct {
	Dir    string // everything is in it; made if it is not there
	NoSync bool   // the bus acknowledges before it syncs
	Layout bus.Layout
	Log    *slog.Logger
}

// A Site is an installation that runs.
type Site struct {
	Bus    bus.Options
	S3     s3store.Options
	Layout bus.Layout
	Own    bool // it was started here

	conn     *bus.Conn
	children []*child
	procs    []proc
	watched  []jetstream.Stream
	uploads  jetstream.Stream
	after    func()
}

// OnStop has f called when Stop has stopped everything.
func (s *Site) OnStop(f func()) { s.after = f }

// services in the order in which they start; they stop in the reverse order.
var services = []string{"nats", "s3", "slicer", "completer"}

// Start starts an installation and returns when it can be used. Its processes end
// with Stop, and also if this process is killed. The caller's main function must
// call [Serve] if [IsService] says so.
func Start(ctx context.Context, cfg Config) (_ *Site, err error) {
	s := &Site{Own: true}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	var known stack.Connect
	for _, name := range services {
		order := serviceOrder{Name: name, Dir: dir, Sync: !cfg.NoSync, Known: known}
		c, err := startChild(ctx, order, cfg.Log)
		if c != nil {
			s.children = append(s.children, c)
			s.procs = append(s.procs, proc{name, c.cmd.Process.Pid})
		}
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		known = c.ready
		switch name {
		case "nats":
			s.Bus = known.Bus()
			if err := s.connect(ctx, cfg.Log); err != nil {
				return nil, err
			}
			if s.Layout, err = bus.Ensure(ctx, s.conn, cfg.Layout); err != nil {
				return nil, fmt.Errorf("set up the streams: %w", err)
			}
		case "s3":
			s.S3 = known.Store()
		}
	}
	return s, s.watch(ctx)
}

// Attach uses an installation that runs. Of the processes named in pids, which are
// on this machine, CPU and memory are measured.
func Attach(ctx context.Context, b bus.Options, store s3store.Options, pids map[string]int, log *slog.Logger) (*Site, error) {
	s := &Site{Bus: b, S3: store}
	if err := s.connect(ctx, log); err != nil {
		return nil, err
	}
	var err error
	if s.Layout, err = bus.Inspect(ctx, s.conn); err == nil {
		err = s.watch(ctx)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	for name, pid := range pids {
		s.procs = append(s.procs, proc{name, pid})
	}
	return s, nil
}

func (s *Site) connect(ctx context.Context, log *slog.Logger) (err error) {
	s.Bus.Name = "tapedeck-loadtest"
	s.conn, err = bus.Connect(ctx, s.Bus, log)
	return err
}

func (s *Site) watch(ctx context.Context) error {
	var err error
	if s.uploads, err = s.conn.JetStream().Stream(ctx, bus.StreamUploads); err != nil {
		return fmt.Errorf("find stream %s: %w", bus.StreamUploads, err)
	}
	for p := range s.Layout.Partitions {
		st, err := s.conn.JetStream().Stream(ctx, bus.EventStream(p))
		if err != nil {
			return fmt.Errorf("find stream %s: %w", bus.EventStream(p), err)
		}
		s.watched = append(s.watched, st)
	}
	return nil
}

// Conn is a connection for watching; load goes over others.
func (s *Site) Conn() *bus.Conn { return s.conn }

// Stop ends what was started, the services before the servers that they use, and
// waits for it.
func (s *Site) Stop() {
	for i := len(s.children) - 1; i >= 0; i-- {
		if s.children[i].order.Name == "nats" && s.conn != nil {
			s.conn.Close() // so that it does not complain
		}
		s.children[i].stop()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.after != nil {
		s.after()
	}
}

// Err says whether a service has ended by itself.
func (s *Site) Err() error {
	var errs []error
	for _, c := range s.children {
		if err := c.ended(); err != nil {
			errs = append(errs, fmt.Errorf("%s ended: %w", c.order.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Lag is how many messages the streams of events hold that the slicers' cursors have
// not passed, over all partitions.
func (s *Site) Lag(ctx context.Context) (int64, error) {
	var lag int64
	for p, st := range s.watched {
		cursor := bus.Cursor{}
		msg, err := s.uploads.GetLastMsgForSubject(ctx, bus.CursorSubject(p))
		switch {
		case err == nil:
			if err := json.Unmarshal(msg.Data, &cursor); err != nil {
				return 0, fmt.Errorf("read cursor of partition %d: %w", p, err)
			}
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return 0, fmt.Errorf("read cursor of partition %d: %w", p, err)
		}
		info, err := st.Info(ctx)
		if err != nil {
			return 0, fmt.Errorf("ask for the last sequence of partition %d: %w", p, err)
		}
		lag += max(0, int64(info.State.LastSeq)-int64(cursor.Seq))
	}
	return lag, nil
}

// Usage is what the processes have used so far, this one as "generator". A process
// that is gone has none.
func (s *Site) Usage() map[string]Usage {
	all := map[string]Usage{}
	for _, p := range append(s.procs, proc{"generator", os.Getpid()}) {
		if u, err := usageOf(p.pid); err == nil {
			all[p.name] = u
		}
	}
	return all
}

// Counts are the newest counts that services of one's own have told, by service.
func (s *Site) Counts() map[string]Counts {
	all := map[string]Counts{}
	for _, c := range s.children {
		if n, ok := c.counts(); ok {
			all[c.order.Name] = n
		}
	}
	return all
}

type proc struct {
	name string
	pid  int
}

// Usage is what a process has used.
type Usage struct {
	CPU float64 // seconds
	RSS int64   // bytes
}
