package accessproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A proxy is one run of a Command.
type proxy struct {
	Command
	tracker *accesslog.Tracker
	log     *slog.Logger
	tcp     []net.Listener
	udp     []*relay
	wg      sync.WaitGroup // of connections and flows

	mu    sync.Mutex
	conns map[*accesslog.Conn]struct{}
}

// listen opens all sockets, or none.
func (p *proxy) listen(ctx context.Context) (err error) {
	p.conns = map[*accesslog.Conn]struct{}{}
	defer func() {
		if err != nil {
			p.closeListeners()
		}
	}()
	var lc net.ListenConfig
	for _, addr := range p.Listen {
		if p.has(accesslog.TCP) {
			l, err := lc.Listen(ctx, "tcp", addr)
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			p.tcp = append(p.tcp, l)
			addr = l.Addr().String() // UDP gets the same port
		}
		if p.has(accesslog.UDP) {
			c, err := lc.ListenPacket(ctx, "udp", addr)
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			p.udp = append(p.udp, newRelay(p, c))
		}
	}
	return nil
}

func (p *proxy) addrs() (addrs []net.Addr) {
	for _, l := range p.tcp {
		addrs = append(addrs, l.Addr())
	}
	for _, r := range p.udp {
		addrs = append(addrs, r.in.LocalAddr())
	}
	return addrs
}

func (p *proxy) closeListeners() {
	for _, l := range p.tcp {
		_ = l.Close()
	}
	for _, r := range p.udp {
		r.in.Shutdown()
		_ = r.in.Close()
	}
}

func (p *proxy) flow() accesslog.Flow {
	return accesslog.Flow{Resource: p.Resource, Dest: p.To, User: p.User}
}

// forward serves all sockets until ctx is done or one of them fails, and
// returns when all that came of them is closed.
func (p *proxy) forward(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(p.tcp)+len(p.udp))
	var serving sync.WaitGroup
	for _, l := range p.tcp {
		serving.Go(func() { failed <- p.serveTCP(ctx, l) })
	}
	for _, r := range p.udp {
		serving.Go(func() { failed <- r.serve(ctx) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	p.closeListeners()
	serving.Wait()
	p.closeConns()
	p.wg.Wait()
	return err
}

// stopped says whether a socket failed because it was closed to stop the proxy.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, net.ErrClosed)
}
