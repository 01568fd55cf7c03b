package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const (
	bucket = "tapedeck"
	access = "faults"
	secret = "not-much-of-a-secret"
)

// A RigConfig says what to run.
type RigConfig struct {
	Dir        string // of logs, streams and recordings
	Programs   Programs
	Partitions int
	Nodes      int // NATS servers, 1 or 3; streams have as many replicas
	SyncAlways bool
	Log        *slog.Logger

	EventsMaxBytes, UploadsMaxBytes int64  // room in streams; 2 GiB each if 0
	S3Dir, NATSDir                  string // of what the servers keep; within Dir if empty
}

// Programs are the services, built.
type Programs struct {
	Slicer, Completer string
	Race              bool // built with the race detector: they take far more memory
}

// Build builds the services into dir. flags go to go build: -race, or -tags.
func Build(ctx context.Context, dir string, flags ...string) (Programs, error) {
	args := append([]string{"build"}, flags...)
	args = append(args, "-o", dir+string(filepath.Separator), module+"/cmd/slicer", module+"/cmd/completer")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return Programs{Slicer: filepath.Join(dir, "slicer"), Completer: filepath.Join(dir, "completer"), Race: slices.Contains(flags, "-race")}, nil
}

const module = "github.com/tapedeck-io/tapedeck"

// A Rig is an installation of processes on loopback, and what the driver needs to
// look at it. The services reach S3 through Proxy, and NATS each through a Link of its
// own; the driver goes past them.
type Rig struct {
	cfg       RigConfig
	nats      []*proc
	ports     []int
	s3        *proc
	Proxy     *Proxy
	slicers   []*proc
	finishers []*proc
	producers []*proc
	states    []string
	links     map[*proc]*Link

	conn   *bus.Conn
	layout bus.Layout
	store  *s3store.Store
	lib    *recording.Library
}

// NewRig starts the servers and installs the streams. Close ends everything.
func NewRig(ctx context.Context, cfg RigConfig) (_ *Rig, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Rig{cfg: cfg, links: map[*proc]*Link{}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := r.startServers(); err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	r.lib = &recording.Library{Store: r.store, Conn: r.conn, Layout: r.layout}
	return r, nil
}

func (r *Rig) startServers() error {
	ports, err := freePorts(2*r.cfg.Nodes + 1)
	if err != nil {
		return err
	}
	r.ports = ports[:r.cfg.Nodes]
	peers := ports[r.cfg.Nodes : 2*r.cfg.Nodes]
	for i, port := range r.ports {
		c := &natsChild{Dir: filepath.Join(cmp.Or(r.cfg.NATSDir, r.cfg.Dir), fmt.Sprintf("nats-%d", i)), Name: fmt.Sprintf("n%d", i), Port: port, SyncAlways: r.cfg.SyncAlways}
		if r.cfg.Nodes > 1 {
			c.Cluster = &embed.NATSCluster{Name: "faults", Port: peers[i], Peers: peers}
		}
		p, err := childProc(r.cfg.Dir, c.Name, childSpec{NATS: c})
		if err != nil {
			return err
		}
		r.nats = append(r.nats, p)
	}
	port := ports[2*r.cfg.Nodes]
	r.s3, err = childProc(r.cfg.Dir, "s3", childSpec{S3: &s3Child{
		Dir: cmp.Or(r.cfg.S3Dir, filepath.Join(r.cfg.Dir, "s3")), Port: port, Access: access, Secret: secret, Bucket: bucket}})
	if err != nil {
		return err
	}
	for _, p := range append(slices.Clone(r.nats), r.s3) {
		if err := p.start(); err != nil {
			return err
		}
	}
	r.Proxy, err = newProxy(fmt.Sprintf("127.0.0.1:%d", port))
	return err
}

func (r *Rig) connect(ctx context.Context) error {
	var err error
	if r.conn, err = bus.Connect(ctx, bus.Options{URL: r.urls(), Name: "faults", Wait: time.Minute}, r.cfg.Log); err != nil {
		return err
	}
	want := bus.Layout{Partitions: r.cfg.Partitions, Replicas: r.cfg.Nodes, EventsMaxBytes: cmp.Or(r.cfg.EventsMaxBytes, 2<<30), UploadsMaxBytes: cmp.Or(r.cfg.UploadsMaxBytes, 2<<30)}
	err = until(ctx, time.Minute, func() (err error) {
		r.layout, err = bus.Ensure(ctx, r.conn, want)
		return err
	})
	if err != nil {
		return err
	}
	if r.store, err = s3store.Open(ctx, r.storeOptions(r.Proxy.target), r.cfg.Log); err != nil {
		return err
	}
	return until(ctx, time.Minute, func() error { return r.store.EnsureBucket(ctx) })
}

func (r *Rig) storeOptions(addr string) s3store.Options {
	return s3store.Options{Endpoint: "http://" + addr, Region: "us-east-1", PathStyle: true, Bucket: bucket, AccessKey: access, SecretKey: secret, ReplyTimeout: 30 * time.Second}
}

func (r *Rig) urls() []string {
	urls := make([]string, len(r.ports))
	for i, p := range r.ports {
		urls[i] = fmt.Sprintf("nats://127.0.0.1:%d", p)
	}
	return urls
}

// link makes the way of one more process to NATS. On a cluster a client learns of the
// other servers from the one that it is connected to, and goes to them when the link
// is cut.
func (r *Rig) link() (*Link, string, error) {
	l, err := newLink(fmt.Sprintf("127.0.0.1:%d", r.ports[len(r.links)%len(r.ports)]))
	if err != nil {
		return nil, "", err
	}
	return l, "nats://" + l.Addr(), nil
}

// service makes a process of one of the programs; it is not started.
func (r *Rig) service(name, bin string, args ...string) (*proc, error) {
	l, url, err := r.link()
	if err != nil {
		return nil, err
	}
	p := newProc(r.cfg.Dir, name, bin, serviceEnv, append(r.serviceArgs(url), args...)...)
	r.links[p] = l
	return p, nil
}

// serviceArgs are what the slicer and the completer have in common.
func (r *Rig) serviceArgs(url string) []string {
	return []string{"--nats-url=" + url, "--nats-wait=1m", "--s3-bucket=" + bucket, "--s3-path-style",
		"--s3-region=us-east-1", "--s3-endpoint=http://" + r.Proxy.Addr(), "--s3-reply-timeout=20s", "--log-level=debug"}
}

var serviceEnv = []string{"TAPEDECK_S3_ACCESS_KEY=" + access, "TAPEDECK_S3_SECRET_KEY=" + secret}

// AddSlicer makes one more slicer; it is not started.
func (r *Rig) AddSlicer(args ...string) error {
	p, err := r.service(fmt.Sprintf("slicer-%d", len(r.slicers)), r.cfg.Programs.Slicer, args...)
	r.slicers = append(r.slicers, p)
	return err
}

// AddCompleter makes one more completer; it is not started.
func (r *Rig) AddCompleter(args ...string) error {
	p, err := r.service(fmt.Sprintf("completer-%d", len(r.finishers)), r.cfg.Programs.Completer, args...)
	r.finishers = append(r.finishers, p)
	return err
}

// AddProducer makes one more producer; it is not started.
func (r *Rig) AddProducer(seed uint64, slots, limit int) error {
	n := len(r.producers)
	state := filepath.Join(r.cfg.Dir, fmt.Sprintf("producer-%d.state", n))
	l, url, err := r.link()
	if err != nil {
		return err
	}
	p, err := childProc(r.cfg.Dir, fmt.Sprintf("producer-%d", n), childSpec{Produce: &Produce{
		NATS: []string{url}, Seed: seed, Producer: n, Slots: slots, State: state, Limit: limit}})
	if err != nil {
		return err
	}
	r.producers, r.states, r.links[p] = append(r.producers, p), append(r.states, state), l
	return nil
}

// all are the processes, servers last.
func (r *Rig) all() []*proc {
	return slices.Concat(r.producers, r.slicers, r.finishers, []*proc{r.s3}, r.nats)
}

// startAll starts, and sets going again, whatever does not run.
func (r *Rig) startAll() error {
	var errs []error
	for _, p := range r.all() {
		if p != nil {
			errs = append(errs, p.start())
			p.signal(sigCont)
		}
	}
	return errors.Join(errs...)
}

// Close kills everything.
func (r *Rig) Close() {
	if r.conn != nil {
		r.conn.Close()
	}
	if r.store != nil {
		_ = r.store.Close()
	}
	for _, p := range r.all() {
		if p != nil {
			p.kill()
		}
	}
	for _, l := range r.links {
		l.Close()
	}
	if r.Proxy != nil {
		r.Proxy.Close()
	}
}

// until calls f until it succeeds or limit is over.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// removeAll empties a directory that may still be written to for a moment.
func removeAll(dir string) {
	_ = until(context.Background(), 5*time.Second, func() error { return os.RemoveAll(dir) })
}
