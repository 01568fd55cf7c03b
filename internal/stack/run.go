package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Run runs the stack until ctx is done or a part of it ends by itself, and
// returns when everything has stopped; nil if it was ctx. It calls ready once
// clients can use it. A second Run on the same directory is refused with an
// error that wraps [ErrInUse] and says who holds it. There can be one in a
// process at a time.
func Run(ctx context.Context, cfg Config, ready func(Info)) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w; choose one that you can write to", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.release()
	s := &running{cfg: cfg, lock: lock}
	// Deferred calls run last first: the bus goes last, since the object store's
	// users need it, and the services went before either.
	defer s.stopServers()
	if err := s.startServers(ctx); err != nil {
		return err
	}
	return s.serve(ctx, ready)
}

// A running stack. Its fields are set as it starts.
type running struct {
	cfg   Config
	lock  *dirLock
	info  Info
	nats  *embed.NATS
	conn  *bus.Conn
	s3    *embed.S3
	store *s3store.Store
	tel   *telemetry.Telemetry

	ports   struct{ nats, s3, web reserved } // until their servers start
	web     *web.Server
	index   *sessions.Index
	indexes *seekindex.Worker
}

func (s *running) startServers(ctx context.Context) error {
	s.info = Info{Dir: s.cfg.Dir, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second)}
	if err := s.lock.say(holder{PID: s.info.PID, Started: s.info.Started}); err != nil {
		return err
	}
	in, err := s.prepare()
	if err != nil {
		return err
	}
	if s.tel, err = telemetry.Start(ctx, "tapedeck", telemetry.Options{MetricsAddr: s.cfg.MetricsAddr}, s.cfg.Log); err != nil {
		return err
	}
	s.info.Metrics = s.tel.Addr()
	if err := s.startBus(ctx, in); err != nil {
		return err
	}
	if err := s.startStore(ctx, in); err != nil {
		return err
	}
	if err := s.tel.Installation(s.conn, s.info.Layout, s.store); err != nil {
		return err
	}
	return s.lock.say(holder{PID: s.info.PID, Started: s.info.Started, NATSPort: in.NATSPort, S3Port: in.S3Port, WebPort: in.WebPort})
}

// prepare checks the disk, and settles ports and credentials before anything
// uses them: a kill right after leaves an installation that starts the same.
func (s *running) prepare() (installation, error) {
	var err error
	if s.info.Free, err = checkSpace(s.cfg.Dir); err != nil {
		return installation{}, err
	}
	in, err := readInstallation(s.cfg.Dir)
	if err != nil {
		return in, err
	}
	if s.ports.nats, err = choosePort("NATS", "--nats-port", s.cfg.NATSPort, in.NATSPort, DefaultNATSPort); err != nil {
		return in, err
	}
	if s.ports.s3, err = choosePort("S3", "--s3-port", s.cfg.S3Port, in.S3Port, DefaultS3Port); err != nil {
		return in, err
	}
	if s.ports.web, err = choosePort("the page", "--web-port", s.cfg.WebPort, in.WebPort, DefaultWebPort); err != nil {
		return in, err
	}
	in.NATSPort, in.S3Port, in.WebPort = s.ports.nats.port(), s.ports.s3.port(), s.ports.web.port()
	return in, writeJSON(installationPath(s.cfg.Dir), in)
}

func (s *running) startBus(ctx context.Context, in installation) error {
	var err error
	s.ports.nats.free()
	s.nats, err = embed.StartNATS(embed.NATSConfig{
		Dir:  filepath.Join(s.cfg.Dir, "nats"),
		Port: in.NATSPort,
		User: in.NATSUser, Password: in.NATSPassword,
		SyncAlways: !s.cfg.NoSync,
		MaxStore:   1 << 50, // each stream has a limit of its own; what is free is watched
		Log:        s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.info.NATS = bus.Options{URL: []string{s.nats.URL()}, User: in.NATSUser, Password: bus.Secret(in.NATSPassword), Name: "tapedeck-up"}
	if s.conn, err = bus.Connect(ctx, s.info.NATS, s.cfg.Log); err != nil {
		return err
	}
	s.info.Layout, err = bus.Ensure(ctx, s.conn, s.cfg.Layout)
	if err != nil {
		return fmt.Errorf("set up the streams in %s: %w", s.cfg.Dir, err)
	}
	return nil
}

func (s *running) startStore(ctx context.Context, in installation) error {
	var err error
	s.ports.s3.free()
	s.s3, err = embed.StartS3(ctx, embed.S3Config{
		Dir:       filepath.Join(s.cfg.Dir, "s3"),
		Port:      in.S3Port,
		AccessKey: in.S3AccessKey, SecretKey: in.S3SecretKey,
		Bucket: Bucket,
		Log:    s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.info.S3 = s.s3.Options()
	opt := s.info.S3
	opt.Tracer = s.tel.Spans()
	s.store, err = s3store.Open(ctx, opt, s.cfg.Log)
	return err
}

// stopServers stops what runs, in reverse.
func (s *running) stopServers() {
	if s.tel != nil {
		s.tel.Stop()
	}
	if s.store != nil {
		_ = s.store.Close()
	}
	if s.s3 != nil {
		s.s3.Stop()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		s.nats.Shutdown()
	}
	for _, port := range []reserved{s.ports.nats, s.ports.s3, s.ports.web} {
		port.free() // of a server that was not started
	}
}

// serve runs the services until ctx is done or one of them, or a server, ends.
func (s *running) serve(ctx context.Context, ready func(Info)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	services, err := s.services()
	if err == nil {
		err = s.openWeb(ctx)
	}
	if err != nil {
		return err
	}
	services = append(services, service{"web", s.web.Run})
	defer func() { _ = s.index.Close() }()
	var wg sync.WaitGroup
	for _, svc := range services {
		wg.Go(func() {
			err := svc.run(ctx)
			if ctx.Err() == nil { // by itself, whatever it says
				stop(fmt.Errorf("%s ended: %w", svc.name, errors.Join(err, errEnded)))
			} else if err != nil && !errors.Is(err, context.Canceled) {
				s.cfg.Log.Error("service did not stop well", "service", svc.name, "err", err)
			}
		})
	}
	if err := writeJSON(connectPath(s.cfg.Dir), connectOf(s.info)); err != nil {
		stop(err)
	} else if ready != nil {
		ready(s.info)
	}
	<-ctx.Done()
	// From here on a client that asks is told that nothing runs; one that is
	// connected can go on until the services are done.
	if err := os.Remove(connectPath(s.cfg.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Warn("connect file is left behind", "err", err)
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

var errEnded = errors.New("it was not told to")
