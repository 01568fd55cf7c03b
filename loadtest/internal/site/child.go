package site

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Counts are what a service counts of itself, by the names of its metrics, and what
// its store has sent.
type Counts struct {
	Metrics map[string]float64 `json:"metrics"`
	Store   s3store.Stats      `json:"store"`
}

// A serviceOrder is what a child is told on its standard input, as one line.
type serviceOrder struct {
	Name  string        `json:"name"`
	Dir   string        `json:"dir"`
	Sync  bool          `json:"sync"`
	Known stack.Connect `json:"known"` // what runs already
}

// A said is one line that a child writes: first how to reach what runs now, then
// counts.
type said struct {
	Ready  *stack.Connect `json:"ready,omitempty"`
	Counts *Counts        `json:"counts,omitempty"`
	Error  string         `json:"error,omitempty"`
}

// A child is a service in a process of its own. It ends when its standard input
// does, so it cannot outlive its parent.
type child struct {
	order serviceOrder
	cmd   *exec.Cmd
	stdin io.Closer
	ready stack.Connect
	done  chan struct{} // closed when it has ended

	mu       sync.Mutex
	newest   *Counts
	err      error
	stopping bool
}

// startTimeout bounds how long a service may take until it is ready.
const startTimeout = 30 * time.Second

func startChild(ctx context.Context, order serviceOrder, log *slog.Logger) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{order: order, done: make(chan struct{})}
	c.cmd = exec.Command(exe)
	c.cmd.Env = append(os.Environ(), serviceEnv+"="+order.Name)
	c.cmd.Stderr = os.Stderr
	// A Ctrl-C is for the load test, which stops its services in their order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.stdin = stdin
	ready := make(chan error, 1)
	go c.listen(stdout, ready)
	if err := json.NewEncoder(stdin).Encode(order); err != nil {
		return c, err
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case err := <-ready:
		return c, err
	case <-timeout.C:
		return c, fmt.Errorf("not ready after %v", startTimeout)
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
}

// listen takes what the child says until it ends, and says once whether it is ready.
func (c *child) listen(r io.Reader, ready chan<- error) {
	defer close(c.done)
	told := false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s said
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			continue // a library's, that writes where it should not
		}
		switch {
		case s.Ready != nil:
			c.ready, told = *s.Ready, true
			ready <- nil
		case s.Counts != nil:
			c.mu.Lock()
			c.newest = s.Counts
			c.mu.Unlock()
		case s.Error != "":
			c.fail(errors.New(s.Error))
		}
	}
	c.fail(c.cmd.Wait())
	if !told {
		c.mu.Lock()
		defer c.mu.Unlock()
		ready <- errors.Join(errors.New("it ended before it was ready"), c.err)
	}
}

func (c *child) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *child) counts() (Counts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return Counts{}, false
	}
	return *c.newest, true
}

var errByItself = errors.New("it was not told to")

func (c *child) ended() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil
	}
	return errors.Join(errByItself, c.err)
}

// stopTimeout is how long a service may take to stop before it is killed.
const stopTimeout = 20 * time.Second

func (c *child) stop() {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	_ = c.stdin.Close()
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}
