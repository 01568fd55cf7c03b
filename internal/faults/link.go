package faults

import (
	"io"
	"net"
	"sync"
	"time"
)

// A Link is the way of one process to its NATS server: a TCP proxy that can be cut or
// slow. While it is cut nothing passes in either direction, and nobody is told: open
// connections stay open, new ones are taken and stay silent. Once it is mended what
// was sent arrives, as after a switch that was away.
type Link struct {
	target string
	ln     net.Listener

	mu    sync.Mutex
	up    *sync.Cond
	cut   bool
	delay time.Duration // of each piece of up to 64 KiB, in either direction
	ended bool
	conns map[net.Conn]bool
}

func newLink(target string) (*Link, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	l := &Link{target: target, ln: ln, conns: map[net.Conn]bool{}}
	l.up = sync.NewCond(&l.mu)
	go l.serve()
	return l, nil
}

// Addr is where the process connects to.
func (l *Link) Addr() string { return l.ln.Addr().String() }

// Cut lets nothing pass until Mend.
func (l *Link) Cut() { l.set(true) }

// Slow lets a piece of up to 64 KiB pass in each direction every d, until Mend.
func (l *Link) Slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// Mend lets everything pass again.
func (l *Link) Mend() {
	l.Slow(0)
	l.set(false)
}

func (l *Link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.up.Broadcast()
}

func (l *Link) wait() {
	l.mu.Lock()
	d := l.delay
	l.mu.Unlock()
	time.Sleep(d)
}

// Close ends the link and all connections over it.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	_ = l.ln.Close()
	for c := range l.conns {
		_ = c.Close()
	}
	l.up.Broadcast()
}

// passes waits until the link is not cut; false if it has ended.
func (l *Link) passes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.ended {
		l.up.Wait()
	}
	return !l.ended
}

// keep has Close close c; false if it is too late for that.
func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.conns[c] = true
	}
	return !l.ended
}

func (l *Link) drop(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *Link) serve() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		go l.join(c)
	}
}

// join passes bytes both ways until either side ends.
func (l *Link) join(near net.Conn) {
	defer l.drop(near)
	if !l.keep(near) || !l.passes() {
		return
	}
	far, err := net.DialTimeout("tcp", l.target, 5*time.Second)
	if err != nil {
		return
	}
	defer l.drop(far)
	if !l.keep(far) {
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [2][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			l.pass(way[1], way[0])
			done <- struct{}{}
		}()
	}
	<-done
}

func (l *Link) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			l.wait()
			if !l.passes() {
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
