package site

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// serviceEnv is set in the environment of a process that is to be a service.
const serviceEnv = "TAPEDECK_LOADTEST_SERVICE"

// IsService says whether this process was started to be a service of a Site.
func IsService() bool { return os.Getenv(serviceEnv) != "" }

// countsEvery is how often a service tells its counts.
const countsEvery = 500 * time.Millisecond

// Serve is a service until in ends. It returns the process's exit status; what went
// wrong is said on out.
func Serve(in io.Reader, out io.Writer) int {
	v := &service{out: json.NewEncoder(out), log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if err := v.run(bufio.NewReader(in)); err != nil {
		v.say(said{Error: err.Error()})
		return 1
	}
	return 0
}

type service struct {
	order serviceOrder
	log   *slog.Logger

	mu  sync.Mutex
	out *json.Encoder
}

// say tells the parent. One that no longer listens is gone, and the end of the input
// says so too.
func (v *service) say(s said) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.out.Encode(s)
}

func (v *service) run(in *bufio.Reader) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to be: %w", err)
	}
	if err := json.Unmarshal(line, &v.order); err != nil {
		return fmt.Errorf("read what to be: %w", err)
	}
	v.log = v.log.With("service", v.order.Name)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	switch v.order.Name {
	case "nats":
		return v.nats(ctx)
	case "s3":
		return v.s3(ctx)
	case "slicer", "completer":
		return v.worker(ctx)
	}
	return fmt.Errorf("be %q: no such service", v.order.Name)
}

func (v *service) nats(ctx context.Context) error {
	ready := v.order.Known
	ready.NATS.User, ready.NATS.Password = "loadtest", rand.Text()
	s, err := embed.StartNATS(embed.NATSConfig{
		Dir: filepath.Join(v.order.Dir, "nats"), SyncAlways: v.order.Sync, MaxStore: 1 << 50, Log: v.log,
		User: ready.NATS.User, Password: ready.NATS.Password,
	})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	ready.NATS.URL = s.URL()
	v.say(said{Ready: &ready})
	<-ctx.Done()
	return nil
}

func (v *service) s3(ctx context.Context) error {
	s, err := embed.StartS3(ctx, embed.S3Config{Dir: filepath.Join(v.order.Dir, "s3"), Bucket: stack.Bucket, Log: v.log})
	if err != nil {
		return err
	}
	defer s.Stop()
	o, ready := s.Options(), v.order.Known
	ready.S3.Endpoint, ready.S3.Region, ready.S3.Bucket = o.Endpoint, o.Region, o.Bucket
	ready.S3.AccessKey, ready.S3.SecretKey, ready.S3.SyncDir = o.AccessKey, o.SecretKey, o.SyncDir
	v.say(said{Ready: &ready})
	select {
	case <-ctx.Done():
		return nil
	case <-s.Done():
		return errors.New("the gateway stopped by itself")
	}
}

// worker runs a slicer or a completer as its own program would.
func (v *service) worker(ctx context.Context) error {
	conn, err := bus.Connect(ctx, v.order.Known.Bus(), v.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return err
	}
	store, err := s3store.Open(ctx, v.order.Known.Store(), v.log)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	m := newMeters()
	var run func(context.Context) error
	if v.order.Name == "slicer" {
		s, err := slicer.New(slicer.DefaultConfig(), slicer.Deps{Conn: conn, Layout: layout, Store: store, Log: v.log, Meter: m.meter})
		if err != nil {
			return err
		}
		run = s.Run
	} else {
		c, err := completer.New(completer.DefaultConfig(), completer.Deps{Conn: conn, Layout: layout, Store: store, Bucket: stack.Bucket, Log: v.log, Meter: m.meter})
		if err != nil {
			return err
		}
		run = c.Run
	}
	v.say(said{Ready: &v.order.Known})
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { v.tell(ctx, m, store) })
	return run(ctx)
}

func (v *service) tell(ctx context.Context, m *meters, store *s3store.Store) {
	tick := time.NewTicker(countsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v.say(said{Counts: &Counts{Metrics: m.values(ctx), Store: store.Stats()}})
	}
}
