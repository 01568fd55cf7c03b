package embed

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const loopback = "127.0.0.1"

// natsReady bounds how long a server may take to recover its streams.
const natsReady = 2 * time.Minute

// A NATSConfig says how to run a NATS server.
type NATSConfig struct {
	Dir  string // JetStream's files; made if it is not there
	Host string // default 127.0.0.1
	Port int    // 0: any free one
	Name string // default "tapedeck"

	// User and Password, if set, are asked of every client. On a machine with
	// several users, loopback alone keeps nobody out.
	User, Password string

	MaxStore   int64 // bytes of streams on disk; 0: the server's own default, three quarters of what is free
	MaxMemory  int64 // bytes of streams in memory; 0: 64 MiB
	SyncAlways bool  // sync to disk before a message is acknowledged

	Cluster *NATSCluster          // nil: a server by itself
	Tune    func(*server.Options) // last word on the server's options; may be nil
	Log     *slog.Logger          // nil: nothing is logged
}

// A NATSCluster makes a server one of several.
type NATSCluster struct {
	Name  string
	Port  int   // that the other servers connect to
	Peers []int // such ports of all servers, this one's included
}

// NATS is a NATS server with JetStream that runs in this process.
type NATS struct {
	srv  *server.Server
	host string
	port int
}

// StartNATS starts a server and returns when it takes clients, which with a
// Cluster may be before the cluster has a leader.
func StartNATS(cfg NATSConfig) (*NATS, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	fatal := make(chan error, 1)
	srv.SetLoggerV2(&natsLog{log: logger(cfg.Log), fatal: fatal}, false, false, false)
	go srv.Start() // returns once it listens; Shutdown ends what it leaves running
	if err := awaitNATS(srv, fatal); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("start NATS on %s: %w", net.JoinHostPort(opts.Host, strconv.Itoa(max(opts.Port, 0))), err)
	}
	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		srv.Shutdown()
		return nil, errors.New("start NATS: no TCP address")
	}
	return &NATS{srv: srv, host: opts.Host, port: addr.Port}, nil
}

func awaitNATS(srv *server.Server, fatal <-chan error) error {
	deadline := time.Now().Add(natsReady)
	for !srv.ReadyForConnections(50 * time.Millisecond) {
		select {
		case err := <-fatal:
			return err
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s", natsReady)
		}
	}
	select {
	case err := <-fatal:
		return err
	default:
		return nil
	}
}

func (cfg NATSConfig) options() (*server.Options, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start NATS: no directory given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start NATS: make its directory: %w", err)
	}
	opts := &server.Options{
		ServerName:         or(cfg.Name, "tapedeck"),
		Host:               or(cfg.Host, loopback),
		Port:               cfg.Port,
		Username:           cfg.User,
		Password:           cfg.Password,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           dir,
		JetStreamMaxStore:  cfg.MaxStore,
		JetStreamMaxMemory: cfg.MaxMemory,
		SyncAlways:         cfg.SyncAlways,
	}
	if opts.JetStreamMaxMemory == 0 {
		opts.JetStreamMaxMemory = 64 << 20
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if c := cfg.Cluster; c != nil {
		opts.Cluster = server.ClusterOpts{Name: c.Name, Host: loopback, Port: c.Port}
		for _, p := range c.Peers {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(loopback, strconv.Itoa(p))})
		}
	}
	if cfg.Tune != nil {
		cfg.Tune(opts)
	}
	return opts, nil
}

// URL is where clients connect. It holds no password.
func (n *NATS) URL() string { return "nats://" + net.JoinHostPort(n.host, strconv.Itoa(n.port)) }

// Port is the port that clients connect to.
func (n *NATS) Port() int { return n.port }

// Server is the server itself, for what only it can tell.
func (n *NATS) Server() *server.Server { return n.srv }

// Shutdown stops the server and returns when it has stopped.
func (n *NATS) Shutdown() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

// natsLog hands the server's log lines on. A fatal one, on which the server
// would end the process by itself, is kept for StartNATS.
type natsLog struct {
	log   *slog.Logger
	fatal chan<- error
}

func (l *natsLog) Noticef(f string, v ...any) { l.log.Debug("nats", "said", fmt.Sprintf(f, v...)) }
func (l *natsLog) Warnf(f string, v ...any) {
	if strings.HasPrefix(f, "Plaintext passwords") {
		return // it means its configuration, which is in our memory only
	}
	l.log.Warn("nats", "said", fmt.Sprintf(f, v...))
}
func (l *natsLog) Errorf(f string, v ...any) { l.log.Error("nats", "said", fmt.Sprintf(f, v...)) }
func (l *natsLog) Debugf(string, ...any)     {}
func (l *natsLog) Tracef(string, ...any)     {}
func (l *natsLog) Fatalf(f string, v ...any) {
	err := fmt.Errorf(f, v...)
	l.log.Error("nats", "said", err.Error())
	select {
	case l.fatal <- err:
	default: // the first one says why
	}
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
