package accessrecv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/net/netutil"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A Command is the flags of `tapedeck access receive`, and runs it. The tags are
// for kong, which this package does not import; without it zero fields mean the
// same defaults, but for DB, which must be set.
type Command struct {
	Listen string `default:"127.0.0.1:8480" env:"TAPEDECK_ACCESS_LISTEN" placeholder:"HOST:PORT" help:"Address to listen on, for POST and websockets at /access. Beyond loopback a token or a secret is needed."`
	DB     string `name:"db" default:"${dir}/access.db" env:"TAPEDECK_ACCESS_DB" type:"path" placeholder:"FILE" help:"SQLite file that holds the sessions."`

	TokenFile  string `type:"path" placeholder:"FILE" help:"File with the bearer token that senders must show."`
	TokenEnv   string `placeholder:"NAME" help:"Environment variable with it, instead."`
	SecretFile string `type:"path" placeholder:"FILE" help:"File with the key of the HMAC signatures that senders must make."`
	SecretEnv  string `placeholder:"NAME" help:"Environment variable with it, instead."`
	NoAuth     bool   `help:"Take batches from anyone, also beyond loopback."`
	TLSCert    string `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate file; needs the key. Without, the way there must be safe already."`
	TLSKey     string `name:"tls-key" type:"path" placeholder:"FILE" help:"Key file; needs the certificate."`

	MaxBody     int `default:"2097152" help:"Longest request or message, in bytes as it comes."`
	MaxInflated int `default:"4194304" help:"Most bytes of JSON that a batch may inflate to."`
	MaxRecords  int `default:"10000" help:"Most records of a batch."`
	MaxConns    int `default:"64" help:"Connections at a time; further ones wait. With --max-body it bounds memory."`
	Workers     int `default:"8" help:"Batches that are inflated and stored at a time. With --max-inflated it bounds memory."`

	Keep        time.Duration `default:"0s" help:"Delete sessions that were not heard of for so long, e.g. 2160h; 0 keeps them for ever."`
	KeepBatches time.Duration `default:"168h" help:"Remember ids of batches for so long. A batch that comes again later is looked at again, and changes nothing."`
	Drain       time.Duration `default:"10s" help:"How long to finish what came before stopping."`
}

// Deps are what a Command needs of whoever runs it.
type Deps struct {
	Ready  func(url string) // called once, when it listens; may be nil
	Logger *slog.Logger     // nil: discard
	Meter  metric.Meter     // nil: none
}

func (c Command) orDefault() Command {
	for _, f := range []struct {
		p   *int
		def int
	}{{&c.MaxBody, 2 << 20}, {&c.MaxInflated, 4 << 20}, {&c.MaxRecords, 10_000}, {&c.MaxConns, 64}, {&c.Workers, 8}} {
		if *f.p == 0 {
			*f.p = f.def
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8480"
	}
	if c.KeepBatches == 0 {
		c.KeepBatches = 7 * 24 * time.Hour
	}
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	return c
}

// Validate says everything that is wrong with the flags at once.
func (c Command) Validate() error {
	c = c.orDefault()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DB == "" {
		bad("db: no file")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		bad("listen: %q is not host:port or [v6]:port", c.Listen)
	}
	if c.TokenFile != "" && c.TokenEnv != "" || c.SecretFile != "" && c.SecretEnv != "" {
		bad("token and secret: give a file or a variable, not both")
	}
	asks := c.TokenFile+c.TokenEnv+c.SecretFile+c.SecretEnv != ""
	if err == nil && !asks && !c.NoAuth && !isLoopback(host) {
		bad("listen: anyone who reaches %s could write: give --token-file, --secret-file or --no-auth", c.Listen)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls: the certificate needs the key, and the key the certificate")
	}
	for _, f := range []struct {
		name      string
		n, lo, hi int
	}{
		{"max body", c.MaxBody, 1 << 10, 64 << 20}, {"max inflated", c.MaxInflated, 1 << 10, 256 << 20},
		{"max records", c.MaxRecords, 1, 1_000_000}, {"max conns", c.MaxConns, 1, 10_000}, {"workers", c.Workers, 1, 256},
	} {
		if f.n < f.lo || f.n > f.hi {
			bad("%s: %d is not within %d to %d", f.name, f.n, f.lo, f.hi)
		}
	}
	if c.Keep < 0 || c.KeepBatches < time.Hour || c.Drain < 0 {
		bad("keep %s and drain %s must not be negative, keep batches %s not under an hour", c.Keep, c.Drain, c.KeepBatches)
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// secret reads a token or a key. It is empty if neither file nor variable is given.
func secret(what, file, env string) (string, error) {
	var s string
	switch {
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", what, err)
		}
		s = string(b)
	case env != "":
		s = os.Getenv(env)
	default:
		return "", nil
	}
	if s = strings.TrimRight(s, "\r\n"); s == "" {
		return "", fmt.Errorf("read %s: %s%s is empty", what, file, env)
	}
	return s, nil
}

func (c Command) auth() (auth, error) {
	token, err1 := secret("token", c.TokenFile, c.TokenEnv)
	key, err2 := secret("secret", c.SecretFile, c.SecretEnv)
	return auth{token: token, key: []byte(key)}, errors.Join(err1, err2)
}

// Run receives until ctx is done, and returns when what came before is answered.
func (c Command) Run(ctx context.Context, d Deps) (err error) {
	c = c.orDefault()
	if err := c.Validate(); err != nil {
		return err
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(d.Meter)
	if err != nil {
		return err
	}
	auth, err := c.auth()
	if err != nil {
		return err
	}
	store, err := Create(ctx, c.DB)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if d.Ready != nil {
		d.Ready(c.url(l.Addr()))
	}
	return c.run(ctx, l, &receiver{
		store: store, auth: auth, workers: make(chan struct{}, c.Workers), log: d.Logger, metrics: m,
		limits: accesslog.Limits{Encoded: c.MaxBody, Inflated: c.MaxInflated, Records: c.MaxRecords},
	})
}

func (c Command) run(ctx context.Context, l net.Listener, r *receiver) (err error) {
	var stop context.CancelFunc
	r.stopping, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s := &http.Server{
		Handler: r.routes(), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- c.serve(s, netutil.LimitListener(l, c.MaxConns)) }()
	forgetting, cancel := context.WithCancel(ctx)
	var forgot sync.WaitGroup
	forgot.Go(func() { c.forget(forgetting, r.store, r.log) })
	select {
	case err = <-served:
	case <-ctx.Done():
		err = c.shutdown(s, r, stop)
	}
	cancel()
	forgot.Wait()
	return err
}

func (c Command) url(a net.Addr) string {
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + a.String() + "/access"
}

func (c Command) serve(s *http.Server, l net.Listener) (err error) {
	if c.TLSCert == "" {
		err = s.Serve(l)
	} else {
		err = s.ServeTLS(l, c.TLSCert, c.TLSKey)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", errors.Join(err, s.Close()))
}

// shutdown answers what came, and then closes websockets. What is not answered
// when it gives up will come again.
func (c Command) shutdown(s *http.Server, r *receiver, stop func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain)
	defer cancel()
	stop()
	err := s.Shutdown(ctx)
	closed := make(chan struct{})
	go func() {
		r.sockets.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = s.Close() // it is being given up
		return fmt.Errorf("stop: not everything was answered within %s: %w", c.Drain, err)
	}
	return nil
}

// forget deletes what is old, now and then every hour.
func (c Command) forget(ctx context.Context, store *Store, log *slog.Logger) {
	every := time.NewTicker(time.Hour)
	defer every.Stop()
	for {
		now := time.Now()
		var before time.Time
		if c.Keep > 0 {
			before = now.Add(-c.Keep)
		}
		switch n, err := store.Forget(ctx, before, now.Add(-c.KeepBatches)); {
		case err != nil && ctx.Err() == nil:
			log.Warn("old sessions not deleted, next try in an hour", "err", err)
		case n > 0:
			log.Info("old sessions deleted", "sessions", n, "before", before.UTC().Format(time.RFC3339))
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}
