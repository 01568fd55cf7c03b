package accessproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// maxPacket is more than a UDP packet can hold.
const maxPacket = 64 << 10

// A relay forwards the packets of one listening socket. Each session has a
// socket of its own towards the target, so that replies find their way back.
type relay struct {
	p  *proxy
	in *accesslog.PacketConn

	mu    sync.Mutex
	flows map[*accesslog.Session]net.Conn
}

func newRelay(p *proxy, c net.PacketConn) *relay {
	return &relay{p: p, in: p.tracker.PacketConn(c, p.flow()), flows: map[*accesslog.Session]net.Conn{}}
}

func (r *relay) serve(ctx context.Context) error {
	buf := make([]byte, maxPacket)
	for {
		n, s, err := r.in.ReadSession(buf)
		if err != nil {
			if stopped(ctx, err) {
				return nil
			}
			return fmt.Errorf("read packets on %s: %w", r.in.LocalAddr(), err)
		}
		target, err := r.target(ctx, s)
		if err != nil {
			r.p.log.Debug("packet dropped", "session", s.ID(), "bytes", n, "err", err)
			continue
		}
		if _, err := target.Write(buf[:n]); err != nil && !refused(err) {
			r.p.log.Debug("packet dropped", "session", s.ID(), "bytes", n, "err", err)
		}
	}
}

// target is the socket of a session towards the target.
func (r *relay) target(ctx context.Context, s *accesslog.Session) (net.Conn, error) {
	r.mu.Lock()
	c, n := r.flows[s], len(r.flows)
	r.mu.Unlock()
	if c != nil {
		return c, nil
	}
	if n >= r.p.MaxFlows {
		s.End(accesslog.ReasonClosed)
		return nil, fmt.Errorf("there are %d flows already", n)
	}
	d := net.Dialer{Timeout: r.p.DialTimeout}
	c, err := d.DialContext(ctx, "udp", r.p.To)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.flows[s] = c
	r.mu.Unlock()
	r.p.wg.Go(func() { r.replies(s, c) })
	s.AfterEnd(func() {
		r.mu.Lock()
		delete(r.flows, s)
		r.mu.Unlock()
		_ = c.Close()
	})
	return c, nil
}

// replies forwards what the target sends until its socket is closed, which the
// end of the session does.
func (r *relay) replies(s *accesslog.Session, c net.Conn) {
	buf := make([]byte, maxPacket)
	for {
		n, err := c.Read(buf)
		if refused(err) {
			continue // nobody listened for an earlier packet; somebody may later
		}
		if err != nil {
			s.End(accesslog.ReasonClosed)
			return
		}
		if _, err := r.in.WriteSession(buf[:n], s); err != nil && !errors.Is(err, accesslog.ErrSessionEnded) {
			r.p.log.Debug("reply dropped", "session", s.ID(), "bytes", n, "err", err)
		}
	}
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
