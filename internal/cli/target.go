package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A target says which installation a command speaks to: the one that `up` runs
// over Dir, or the NATS servers and the bucket that the flags name.
type target struct {
	Dir  string          `help:"Directory of the 'tapedeck up' to speak to, unless the flags below name other servers." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	NATS bus.Options     `embed:"" group:"NATS, if it is not the one of --dir"`
	S3   s3store.Options `embed:"" group:"S3, if it is not the one of --dir"`
}

// defaultNATS is what bus.Options has when nobody said anything.
var defaultNATS = []string{"nats://127.0.0.1:4222"}

// resolve fills in what a running `up` over Dir says, where the flags say nothing.
func (t *target) resolve() error {
	named := !slices.Equal(t.NATS.URL, defaultNATS)
	if named && t.S3.Bucket != "" {
		return nil
	}
	running, err := stack.ReadConnect(t.Dir)
	if errors.Is(err, stack.ErrNotRunning) && (named || t.S3.Bucket != "") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w (or name another with --nats-url and --s3-bucket)", err)
	}
	if !named {
		t.NATS = running.Bus()
	}
	if t.S3.Bucket == "" {
		t.S3 = running.Store()
	}
	return nil
}

// An installation is a target that answered.
type installation struct {
	conn   *bus.Conn // nil if the bus did not answer and the command can do without
	layout bus.Layout
	store  *s3store.Store // nil if the target names no bucket and the command can do without
}

func (in *installation) close() {
	if in.conn != nil {
		in.conn.Close()
	}
	if in.store != nil {
		_ = in.store.Close()
	}
}

// openBus connects to NATS alone.
func (t *target) openBus(ctx context.Context, log *slog.Logger) (*installation, error) {
	if err := t.resolve(); err != nil {
		return nil, err
	}
	conn, err := bus.Connect(ctx, t.NATS, log)
	if err != nil {
		return nil, err
	}
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &installation{conn: conn, layout: layout}, nil
}

// open connects to NATS and S3. Recordings that are finished can be read
// without the bus, so that a bus that does not answer is only told of.
func (t *target) open(ctx context.Context, log *slog.Logger) (*installation, error) {
	in, err := t.openBus(ctx, log)
	if err != nil {
		if t.S3.Bucket == "" || ctx.Err() != nil {
			return nil, err
		}
		log.Warn("the bus does not answer: only finished recordings can be read", "err", err)
		in = &installation{}
	}
	if in.store, err = t.openStore(ctx, log); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func (t *target) openStore(ctx context.Context, log *slog.Logger) (*s3store.Store, error) {
	if t.S3.Bucket == "" {
		return nil, errors.New("no bucket named: give --s3-bucket (and --s3-endpoint for any store but AWS)")
	}
	store, err := s3store.Open(ctx, t.S3, log)
	if err != nil {
		return nil, err
	}
	if err := store.CheckBucket(ctx); err != nil {
		_ = store.Close()
		return nil, err
	}
	return store, nil
}

// library is where the sessions of the installation are found.
func (in *installation) library() *recording.Library {
	lib := &recording.Library{Conn: in.conn, Layout: in.layout}
	if in.store != nil { // a nil *Store in the interface would not be nil
		lib.Store = in.store
	}
	return lib
}
