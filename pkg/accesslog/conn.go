package accesslog

import (
	"errors"
	"fmt"
	"net"
)

// A Conn is a connection whose bytes are counted, and whose Close ends its
// session with [ReasonClosed]. It hides what could move bytes past the counting
// (ReadFrom, WriteTo).
type Conn struct {
	net.Conn
	s      *Session
	source bool // it leads to the source
}

// Accept follows a connection that was accepted from its source. f.Source
// defaults to the peer's address, f.Dest to the connection's own.
func (t *Tracker) Accept(c net.Conn, f Flow) *Conn {
	if !f.Source.IsValid() {
		f.Source = AddrPort(c.RemoteAddr())
	}
	if f.Dest == "" {
		f.Dest = c.LocalAddr().String()
	}
	return t.Start(f).ToSource(c)
}

// ToSource counts on the connection that leads to the session's source: what is
// read is Tx. Wrap one of the two sides only, or bytes are counted twice.
func (s *Session) ToSource(c net.Conn) *Conn { return &Conn{Conn: c, s: s, source: true} }

// ToDest counts on the connection that leads to the session's destination: what
// is written is Tx.
func (s *Session) ToDest(c net.Conn) *Conn { return &Conn{Conn: c, s: s} }

// Session is what the connection is counted for.
func (c *Conn) Session() *Session { return c.s }

// NetConn is the connection itself. What passes there is not counted.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read counts what it reads.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.count(n, c.source)
	return n, err
}

// Write counts what was written.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.count(n, !c.source)
	return n, err
}

func (c *Conn) count(n int, tx bool) {
	if n <= 0 {
		return
	}
	if tx {
		c.s.b.tx.Add(int64(n))
	} else {
		c.s.b.rx.Add(int64(n))
	}
}

// Close closes the connection and ends the session.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.s.End(ReasonClosed)
	return err
}

// CloseWrite closes the writing side, if the connection can do that.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return fmt.Errorf("close writing side of %T: %w", c.Conn, errors.ErrUnsupported)
}

type listener struct {
	net.Listener
	t *Tracker
	f Flow
}

// Listener follows every connection that l accepts; see [Tracker.Accept].
func (t *Tracker) Listener(l net.Listener, f Flow) net.Listener { return &listener{l, t, f} }

// Accept accepts a connection that is a [Conn].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.t.Accept(c, l.f), nil
}
