package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Conn is one connection to NATS. Once made it reconnects for ever, also when
// the server refuses its credentials for a while. It is safe for concurrent use.
type Conn struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	log  *slog.Logger
	wait time.Duration // Options.Wait

	logDenied    atomic.Pointer[error] // why upload logs cannot be read, once that is known
	leaderDenied atomic.Bool           // the leader of streams cannot be asked for messages

	mu        sync.Mutex
	listeners map[*listener]struct{}
	statuses  map[string]*statusSub // by node
	inbox     error                 // the server denies the subjects that replies come to
}

// A listener hears of what nats.go reports asynchronously. Its functions are
// called on nats.go's own goroutine and must not block.
type listener struct {
	denied    func(denial)
	connected func()
	waiting   func() int64 // sessions; nil: it publishes none. May take locks
}

// A denial is a permission error of the server, which reaches the client with
// no connection to the call that caused it.
type denial struct {
	subscribe bool // else publish
	subject   string
}

func (d denial) err() error {
	verb := "publish to"
	if d.subscribe {
		verb = "subscribe to"
	}
	return fmt.Errorf("%s %s: %w for this NATS user", verb, d.subject, ErrPermission)
}

// Connect connects, and returns once it is connected. It tries until o.Wait has
// passed or ctx is done. log may be nil; extra options go to nats.go as they
// are and come last.
func Connect(ctx context.Context, o Options, log *slog.Logger, extra ...nats.Option) (*Conn, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Conn{log: log, wait: o.Wait, listeners: map[*listener]struct{}{}, statuses: map[string]*statusSub{}}
	opts, err := c.natsOptions(o)
	if err != nil {
		return nil, err
	}
	nc, err := dial(ctx, o, append(opts, extra...))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w%s", o, err, nextStep(err))
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS at %s: %w", o, err)
	}
	return c, nil
}

// nextStep is what to do about not being connected, if that can be told.
func nextStep(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return "; check user and password, credentials file, nkey or token"
	case errors.Is(err, nats.ErrAuthExpired):
		return "; get new credentials"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED):
		return "; is the server running there?"
	}
	return ""
}

// dial retries what time can mend: a server that is not there yet.
func dial(ctx context.Context, o Options, opts []nats.Option) (*nats.Conn, error) {
	deadline := time.Now().Add(o.Wait)
	for {
		nc, err := nats.Connect(strings.Join(o.urls(), ","), opts...)
		if err == nil {
			return nc, nil
		}
		final := errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired)
		if final || !time.Now().Before(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last try: %w)", context.Cause(ctx), err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (c *Conn) natsOptions(o Options) ([]nats.Option, error) {
	name := o.Name
	if name == "" {
		name = "tapedeck"
	}
	inbox := o.InboxPrefix
	if inbox == "" {
		inbox = nats.InboxPrefix[:len(nats.InboxPrefix)-1]
	}
	opts := []nats.Option{
		nats.Name(name),
		nats.CustomInboxPrefix(inbox),
		nats.Timeout(5 * time.Second),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(10 * time.Second),
		nats.ErrorHandler(c.onError),
		nats.ReconnectHandler(c.onReconnect),
		nats.DisconnectErrHandler(c.onDisconnect),
	}
	switch {
	case o.Creds != "":
		opts = append(opts, nats.UserCredentials(o.Creds))
	case o.NKey != "":
		opt, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("nats nkey: %s is no file with an nkey seed", o.NKey) // what is in it stays out of the error
		}
		opts = append(opts, opt)
	case o.User != "":
		opts = append(opts, nats.UserInfo(o.User, string(o.Password)))
	case o.Token != "":
		opts = append(opts, nats.Token(string(o.Token)))
	}
	cfg, err := o.tls()
	if err != nil {
		return nil, err
	}
	if cfg != nil {
		opts = append(opts, nats.Secure(cfg))
	}
	return opts, nil
}

// tls is nil when no file is given; nats.go then uses the system's certificates
// if the URL or the server asks for TLS.
func (o Options) tls() (*tls.Config, error) {
	if o.TLSCA == "" && o.TLSCert == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLSCA != "" {
		pem, err := os.ReadFile(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("nats tls ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("nats tls ca: %s holds no certificate", o.TLSCA)
		}
	}
	if o.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("nats tls cert: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

func reconnectDelay(attempts int) time.Duration {
	return min(100*time.Millisecond<<min(attempts, 6), 5*time.Second)
}

// NATS is the client's connection. Its error, reconnect and disconnect handlers
// are ours; do not replace them.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// JetStream is the client's JetStream on the connection.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// Connected says that there is no connection to a server now; nil if there is one.
func (c *Conn) Connected(context.Context) error {
	if !c.nc.IsConnected() {
		return fmt.Errorf("not connected: %s", c.nc.Status())
	}
	return nil
}

// Waiting is how many of the sessions that are published over the connection wait for
// room, a leader or a connection before they can go on. After a connection is lost a
// session counts once it misses an acknowledgement.
func (c *Conn) Waiting() (sessions int64) {
	c.each(func(l *listener) {
		if l.waiting != nil {
			sessions += l.waiting()
		}
	})
	return sessions
}

// Close closes the connection at once. Close publishers before.
func (c *Conn) Close() { c.nc.Close() }

func (c *Conn) listen(l *listener) (stop func()) {
	c.mu.Lock()
	c.listeners[l] = struct{}{}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.listeners, l)
		c.mu.Unlock()
	}
}

func (c *Conn) each(f func(*listener)) {
	c.mu.Lock()
	ls := make([]*listener, 0, len(c.listeners))
	for l := range c.listeners {
		ls = append(ls, l)
	}
	c.mu.Unlock()
	for _, l := range ls {
		f(l)
	}
}

// The server names the subject that it denied in a text and nowhere else.
var deniedSubject = regexp.MustCompile(`(Publish|Subscription) to "([^"]+)"`)

func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if m := deniedSubject.FindStringSubmatch(err.Error()); m != nil && errors.Is(err, nats.ErrPermissionViolation) {
		d := denial{subscribe: m[1] == "Subscription", subject: m[2]}
		c.log.Warn("nats denied", "subject", d.subject, "subscribe", d.subscribe)
		if d.subscribe && strings.HasPrefix(d.subject, c.nc.Opts.InboxPrefix+".") {
			c.setInboxDenied(d.err())
		}
		c.each(func(l *listener) {
			if l.denied != nil {
				l.denied(d)
			}
		})
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	c.log.Warn("nats reported an error", "subject", subject, "err", err)
}

// inboxDenied is not nil when no reply can reach us. The server says so once,
// when the subscription is made, so it is kept until there is a new connection.
func (c *Conn) inboxDenied() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inbox
}

func (c *Conn) setInboxDenied(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox = err
}

func (c *Conn) onReconnect(nc *nats.Conn) {
	c.setInboxDenied(nil) // the permissions may be others now
	c.logDenied.Store(nil)
	c.leaderDenied.Store(false)
	c.log.Info("nats reconnected", "server", nc.ConnectedServerName())
	c.each(func(l *listener) {
		if l.connected != nil {
			l.connected()
		}
	})
}

func (c *Conn) onDisconnect(_ *nats.Conn, err error) {
	if err == nil { // Close did it
		return
	}
	c.log.Warn("nats disconnected", "err", err)
}
