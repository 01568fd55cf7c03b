package bus_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A proxy stands between a client and its server and loses what it is told to.
type proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	loseAck  func(payload string) bool // acknowledgements not to pass on
	loseSent bool                      // what the client sends
	down     bool                      // takes no connection
	lost     int                       // acknowledgements, or pieces of what was sent
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: strings.TrimPrefix(target, "nats://"), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

func (p *proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// cut closes every connection.
func (p *proxy) cut() {
	p.set(func() {
		for c := range p.conns {
			_ = c.Close()
		}
	})
}

func (p *proxy) serve() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		var down bool
		p.set(func() { down = p.down })
		if down {
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.set(func() { p.conns[client], p.conns[server] = struct{}{}, struct{}{} })
		p.wg.Go(func() { p.toServer(server, client) })
		p.wg.Go(func() { p.toClient(client, server) })
	}
}

func (p *proxy) toServer(server, client net.Conn) {
	defer func() { _, _ = client.Close(), server.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		var lose bool
		p.set(func() {
			if lose = p.loseSent; lose {
				p.lost++
			}
		})
		if lose {
			continue
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// toClient passes on one protocol message after the other.
func (p *proxy) toClient(client, server net.Conn) {
	defer func() { _, _ = client.Close(), server.Close() }()
	r := bufio.NewReader(server)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var payload []byte
		if f := strings.Fields(line); f[0] == "MSG" || f[0] == "HMSG" {
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				panic(fmt.Sprintf("proxy: %q", line))
			}
			payload = make([]byte, n+2)
			if _, err := io.ReadFull(r, payload); err != nil {
				return
			}
		}
		var lose bool
		p.set(func() {
			isAck := strings.Contains(string(payload), `"stream":"EVENTS-`) && !strings.Contains(string(payload), `"type"`)
			if lose = isAck && p.loseAck != nil && p.loseAck(string(payload)); lose {
				p.lost++
			}
		})
		if lose {
			continue
		}
		if _, err := client.Write(append([]byte(line), payload...)); err != nil {
			return
		}
	}
}
