package accesslog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrSessionEnded says that the session which a packet belongs to is over.
var ErrSessionEnded = errors.New("session has ended")

// A PacketConn is a socket that sources send packets to, all of them for one
// destination. Each source is a session until nothing has passed between the
// two for [Config.Idle]; its next packet begins another. endedAt is when the
// last packet passed.
type PacketConn struct {
	net.PacketConn
	udp *net.UDPConn // the same, if it is one
	t   *Tracker
	f   Flow
}

// A flowKey tells UDP sessions apart.
type flowKey struct {
	source   netip.AddrPort
	dest     string
	resource int64
	user     string
}

// PacketConn follows what passes through c; f.Source is not used.
func (t *Tracker) PacketConn(c net.PacketConn, f Flow) *PacketConn {
	f.Protocol, f.Source = UDP, netip.AddrPort{}
	if f.Dest == "" {
		f.Dest = c.LocalAddr().String()
	}
	p := &PacketConn{PacketConn: c, t: t, f: f}
	p.udp, _ = c.(*net.UDPConn)
	return p
}

func (p *PacketConn) key(source netip.AddrPort) flowKey {
	return flowKey{source, p.f.Dest, p.f.Resource, p.f.User}
}

// ReadFrom reads and counts a packet of any source.
func (p *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := p.PacketConn.ReadFrom(b)
	if err == nil {
		p.count(AddrPort(addr), n, true)
	}
	return n, addr, err
}

// WriteTo writes and counts a packet to a source. It begins a session if there
// is none.
func (p *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := p.PacketConn.WriteTo(b, addr)
	if err == nil {
		p.count(AddrPort(addr), n, false)
	}
	return n, err
}

// ReadSession reads and counts a packet, and says of which session it is.
func (p *PacketConn) ReadSession(b []byte) (int, *Session, error) {
	n, from, err := p.read(b)
	if err != nil {
		return n, nil, err
	}
	return n, p.count(from, n, true), nil
}

func (p *PacketConn) read(b []byte) (int, netip.AddrPort, error) {
	if p.udp != nil { // allocates no address
		n, from, err := p.udp.ReadFromUDPAddrPort(b)
		return n, unmap(from), err
	}
	n, from, err := p.PacketConn.ReadFrom(b)
	return n, AddrPort(from), err
}

// WriteSession writes and counts a packet to the source of s. Its error wraps
// [ErrSessionEnded] if that is over: a reply that came too late begins no session.
func (p *PacketConn) WriteSession(b []byte, s *Session) (int, error) {
	if s.Ended() {
		return 0, fmt.Errorf("write %d bytes to %s: %w", len(b), s.flow, ErrSessionEnded)
	}
	n, err := p.write(b, s.flow)
	if err != nil {
		return n, err
	}
	p.t.mu.RLock()
	defer p.t.mu.RUnlock()
	if !s.Ended() {
		s.passed(n, false)
	}
	return n, nil
}

func (p *PacketConn) write(b []byte, to netip.AddrPort) (int, error) {
	if p.udp != nil {
		return p.udp.WriteToUDPAddrPort(b, to)
	}
	return p.PacketConn.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// count counts a packet for the session of source, which it begins if there is
// none. A session ends under the full lock, so none that was found here misses
// the packet.
func (p *PacketConn) count(source netip.AddrPort, n int, tx bool) *Session {
	t, key := p.t, p.key(source)
	t.mu.RLock()
	s := t.flows[key]
	if s != nil {
		s.passed(n, tx)
	}
	t.mu.RUnlock()
	if s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s = t.flows[key]; s == nil {
		f := p.f
		f.Source = source
		s = t.start(f)
		s.packets, s.flow = p, source
		if !t.stopped {
			t.flows[key] = s
			t.schedule(&s.timer, t.now()+int64(t.cfg.Idle))
		}
	}
	s.passed(n, tx)
	return s
}

func (s *Session) passed(n int, tx bool) {
	s.last.Store(s.b.t.now())
	if tx {
		s.b.tx.Add(int64(n))
	} else {
		s.b.rx.Add(int64(n))
	}
}

// Close closes the socket and ends its sessions with [ReasonClosed].
func (p *PacketConn) Close() error {
	err := p.PacketConn.Close()
	p.end(ReasonClosed)
	return err
}

// Shutdown ends the sessions with [ReasonShutdown]; the socket stays open.
func (p *PacketConn) Shutdown() { p.end(ReasonShutdown) }

func (p *PacketConn) end(why Reason) {
	t := p.t
	t.mu.Lock()
	var calls []func()
	for _, s := range t.flows {
		if s.packets == p {
			calls = append(calls, t.end(s, why, s.last.Load())...)
		}
	}
	t.mu.Unlock()
	call(calls)
}
