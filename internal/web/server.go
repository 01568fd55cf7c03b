package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// A Server serves the recordings of an installation. Make it with [New].
type Server struct {
	cfg    Config
	lib    *recording.Library
	index  *sessions.Index
	tokens *token.File
	log    *slog.Logger
	public *url.URL // nil without one

	reads    chan struct{} // holds one for each recording that is being read
	access   *access
	starts   starts
	listener net.Listener
	tapes    *tapes
	indexes  indexes
	revs     revs
	films    chan struct{} // holds one for each film that is being made

	filmFiles chan struct{} // holds one for each film that is kept
	filmBytes int64         // of each, at most
	filmTime  time.Duration // to make one
	bodyTime  time.Duration // to send what a request brings

	indexer  Indexer // may be nil
	making   making
	listed   health.Pulse    // of bringing the list of sessions up to date
	catchUps chan struct{}   // holds one for each viewer that catches up
	stop     context.Context // done when the server is to stop: live views end
	stopped  context.CancelFunc
}

// New makes a Server that serves once [Server.Run] is called.
func New(cfg Config, d Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.orDefault()
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Tokens == nil && !cfg.NoAuth {
		return nil, errors.New("serve: no tokens given")
	}
	s := &Server{cfg: cfg, lib: d.Library, index: d.Index, tokens: d.Tokens, log: d.Log, reads: make(chan struct{}, cfg.MaxReads)}
	if cfg.PublicURL != "" {
		u, err := url.Parse(cfg.PublicURL)
		if err != nil {
			return nil, fmt.Errorf("public url: %w", err)
		}
		s.public = u
	}
	s.access = newAccess(d.Library.Conn, d.Log)
	s.stop, s.stopped = context.WithCancel(context.Background())
	s.tapes = &tapes{lib: d.Library, log: d.Log, ctx: s.stop, all: map[string]*tape{}}
	s.indexer, s.indexes.store = d.Indexer, d.Library.Store
	s.films, s.filmFiles, s.filmBytes, s.filmTime = make(chan struct{}, films), make(chan struct{}, filmFiles), filmBytes, filmTime
	s.bodyTime = bodyTime
	s.catchUps = make(chan struct{}, catchUps)
	return s, nil
}

// Listen begins to listen and returns the URL that browsers reach the page by. What
// comes is answered once [Server.Run] is called, which must follow, or [Server.Close].
func (s *Server) Listen(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	s.listener = l
	return s.url(l.Addr()), nil
}

// Close lets go of what Listen took, if Run will not be called.
func (s *Server) Close() error {
	s.stopped()
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

func (s *Server) url(a net.Addr) string {
	if s.public != nil {
		return s.public.Scheme + "://" + s.public.Host + "/"
	}
	scheme := "http"
	if s.cfg.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + a.String() + "/"
}

// Run serves until ctx is done, and keeps the index meanwhile. It listens first if
// that was not done.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if _, err := s.Listen(ctx); err != nil {
			return err
		}
	}
	// No ReadTimeout: it would end every answer that takes longer, because the server goes
	// on reading meanwhile to see whether the viewer is still there.
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	keeping, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		k := sessions.Keeper{Index: s.index, Library: s.lib, Log: s.log, Tries: &s.listed}
		_ = k.Run(keeping) // it is nil
	})
	defer keeper.Wait()
	defer cancel()
	served := make(chan error, 1)
	l := bounded{s.listener}
	go func() {
		if s.cfg.TLSCert != "" {
			served <- h.ServeTLS(l, s.cfg.TLSCert, s.cfg.TLSKey)
		} else {
			served <- h.Serve(l)
		}
	}()
	select {
	case err := <-served:
		s.stopped()
		return fmt.Errorf("serve: %w", errors.Join(err, h.Close()))
	case <-ctx.Done():
	}
	s.stopped() // live views end, and say so
	ending, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancelEnd()
	if err := h.Shutdown(ending); err != nil {
		_ = h.Close() // it is being given up: whoever watches sees the connection go
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		s.log.Warn("serving did not end well", "err", err)
	}
	s.await(ending, "live views", &s.tapes.done)
	s.await(ending, "indexes", &s.making.done)
	return nil
}

// await waits for what was told to stop, and not for longer than there is to end: what
// it does it may leave undone, for it is derived or read.
func (s *Server) await(ctx context.Context, what string, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.log.Warn("stopping without waiting for what does not end", "what", what)
	}
}

// socketBuffer is what the kernel may hold for one viewer that does not read. By
// itself it would be several MiB for each.
const socketBuffer = 512 << 10

// bounded bounds what the kernel holds for each connection.
type bounded struct{ net.Listener }

func (b bounded) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer) // without it more memory is used, and that is all
	}
	return c, err
}
