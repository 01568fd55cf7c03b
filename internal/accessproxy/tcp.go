package accessproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// acceptWait is the pause after a failure to accept that time may mend: there
// are no file descriptors left.
const acceptWait = 50 * time.Millisecond

func (p *proxy) serveTCP(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			conn := p.tracker.Accept(c, p.flow())
			if p.track(ctx, conn) {
				p.wg.Go(func() { p.serveConn(ctx, conn) })
			}
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			p.log.Warn("connection not accepted", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptWait):
			}
		default:
			if stopped(ctx, err) {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
	}
}

// track remembers a connection, so that stopping can close it.
func (p *proxy) track(ctx context.Context, c *accesslog.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		end(ctx, c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) closeConns() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		sever(c)
	}
}

// sever closes a connection and leaves its session open, until all that passed
// is counted.
func sever(c net.Conn) {
	if counted, ok := c.(*accesslog.Conn); ok {
		c = counted.NetConn()
	}
	_ = c.Close()
}

// end closes a connection and ends its session.
func end(ctx context.Context, c *accesslog.Conn) {
	sever(c)
	if ctx.Err() != nil {
		c.Session().End(accesslog.ReasonShutdown)
	}
	_ = c.Close()
}

func (p *proxy) serveConn(ctx context.Context, c *accesslog.Conn) {
	defer func() {
		end(ctx, c)
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	d := net.Dialer{Timeout: p.DialTimeout}
	target, err := d.DialContext(ctx, "tcp", p.To)
	if err != nil {
		p.log.Warn("target not reached", "session", c.Session().ID(), "err", err)
		return
	}
	defer target.Close()
	var wg sync.WaitGroup
	wg.Go(func() { pipe(target, c) })
	wg.Go(func() { pipe(c, target) })
	wg.Wait()
}

// buffers of connections that have something to copy.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// pipe copies until src ends, and then ends dst. If either fails, it severs both.
func pipe(dst, src net.Conn) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// Neither side may bring its own way of copying: it would count late or not.
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
	if err == nil {
		err = dst.(interface{ CloseWrite() error }).CloseWrite()
	}
	if err != nil {
		sever(dst)
		sever(src)
	}
}
