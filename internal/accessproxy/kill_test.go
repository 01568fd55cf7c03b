package accessproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessproxy"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

const childEnv = "TAPEDECK_TEST_PROXY"

// runChild runs a proxy instead of the tests, if the process was started for it.
func runChild() bool {
	url := os.Getenv(childEnv)
	if url == "" {
		return false
	}
	c := accessproxy.Command{
		Listen: []string{os.Args[1]}, To: os.Args[2], State: os.Args[3], Resource: 1, Node: "gate", Idle: 200 * time.Millisecond, Alive: time.Second,
	}
	err := c.Run(context.Background(), accessproxy.Deps{Connect: connectTo(url), Stdout: os.Stdout, Ready: func([]net.Addr) { fmt.Println("ready") }})
	fmt.Fprintln(os.Stderr, err)
	return true
}

// A child is a proxy in a process of its own.
type child struct {
	cmd   *exec.Cmd
	lines sync.WaitGroup
	ready chan struct{}
}

func startChild(t *testing.T, url, listen, to, state string, line func(string)) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], listen, to, state)
	cmd.Env = append(os.Environ(), childEnv+"="+url)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, ready: make(chan struct{})}
	c.lines.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			if s.Text() == "ready" {
				close(c.ready)
			} else {
				line(s.Text())
			}
		}
	})
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	c.lines.Wait()
	_ = c.cmd.Wait()
}

var startLine = regexp.MustCompile(`^ACCESS START session=([0-9a-f]{16}) `)
var endLine = regexp.MustCompile(`^ACCESS END session=([0-9a-f]{16}) .* tx=(\d+) rx=(\d+) reason=(\w+)$`)

// Whatever a line was written for must be on the bus, once, and as the line says.
func TestKilledProxyLosesNoSessionAndCountsNoneTwice(t *testing.T) {
	url, c := newBus(t)
	tg := newTarget(t, 1)
	state := filepath.Join(t.TempDir(), "state")
	listen := embedtest.FreeAddr(t)
	var mu sync.Mutex
	started, ended := map[string]bool{}, map[string]string{}
	note := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if m := startLine.FindStringSubmatch(line); m != nil {
			started[m[1]] = true
		}
		if m := endLine.FindStringSubmatch(line); m != nil {
			ended[m[1]] = fmt.Sprint(m[2:])
		}
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 8 {
		load.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if i%2 == 0 {
					_, _ = visitTCP(listen, n%3000, n%3000)
				} else {
					hurriedUDP(listen)
				}
			}
		})
	}
	for range 6 {
		p := startChild(t, url, listen, tg.addr, state, note)
		<-p.ready
		time.Sleep(100*time.Millisecond + rand.N(500*time.Millisecond))
		p.kill()
	}
	close(stop)
	load.Wait()
	last := startChild(t, url, listen, tg.addr, state, note)
	defer last.kill()
	<-last.ready
	open := func() (n int) {
		for _, r := range sessions(t, readAll(t, c)) {
			if !r.Ended() {
				n++
			}
		}
		return n
	}
	eventually(t, "all sessions have ended", func() bool {
		mu.Lock()
		lines, ends := len(started), len(ended)
		mu.Unlock()
		return lines <= ends && open() == 0
	})
	got := sessions(t, readAll(t, c))
	reaped := 0
	for _, r := range got {
		if r.Reason == accesslog.ReasonReaped {
			reaped++
		}
	}
	for id := range started {
		if _, ok := got[id]; !ok {
			t.Errorf("session %s began and is not on the bus", id)
		}
	}
	for id, line := range ended {
		r, ok := got[id]
		if is := fmt.Sprint([]string{fmt.Sprint(r.BytesTx), fmt.Sprint(r.BytesRx), string(r.Reason)}); !ok || is != line {
			t.Errorf("session %s: line says %s, bus says %s", id, line, is)
		}
	}
	if len(ended) < 50 || reaped == 0 {
		t.Errorf("%d sessions ended, %d reaped: too little happened", len(ended), reaped)
	}
	t.Logf("%d sessions, %d of them reaped", len(got), reaped)
}

// hurriedUDP sends a packet and waits a moment for the answer.
func hurriedUDP(addr string) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte("hello"))
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, _ = io.ReadFull(c, make([]byte, 5))
}
