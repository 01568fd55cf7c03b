package faults

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A proc is a process that can be killed and started again. Its output goes to a
// file. Its methods may be called from several goroutines.
type proc struct {
	name string
	bin  string
	args []string
	env  []string
	log  string

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when the process has ended
	err   error         // how, once done is closed
	empty int64         // size of the log when it was started
}

func newProc(dir, name, bin string, env []string, args ...string) *proc {
	return &proc{name: name, bin: bin, args: args, env: env, log: filepath.Join(dir, name+".log")}
}

// start starts the process if it does not run.
func (p *proc) start() error { return p.startWith() }

// startWith is start with more in the environment, this time only.
func (p *proc) startWith(env ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		return nil
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	fmt.Fprintf(out, "--- %s started %s\n", p.name, time.Now().Format("15:04:05.000"))
	if p.empty, err = out.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	cmd := exec.Command(p.bin, p.args...)
	cmd.Env = slices.Concat(os.Environ(), p.env, env)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = withParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.stdin, p.done = cmd, in, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// runs is with mu held. A stopped process runs.
func (p *proc) runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *proc) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs()
}

func (p *proc) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// signal sends a signal if the process runs.
func (p *proc) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		_ = p.cmd.Process.Signal(s)
	}
}

// said says whether there are these words in the log since the process was started.
func (p *proc) said(words string) bool {
	p.mu.Lock()
	from := p.empty
	p.mu.Unlock()
	return findLineFrom(p.log, from, words) != ""
}

// wait waits until the process has ended, and says how.
func (p *proc) wait(limit time.Duration) error {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s: %w after %s", p.name, errStillRuns, limit)
	}
}

var errStillRuns = errors.New("process still runs")

// kill is kill -9, and waits for the end.
func (p *proc) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.wait(10 * time.Second)
}

// stop asks for a graceful end and kills what does not follow within limit.
func (p *proc) stop(limit time.Duration) error {
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT)
	err := p.wait(limit)
	if errors.Is(err, errStillRuns) {
		p.kill()
	}
	return err
}

// closeInput ends the standard input of the process, which a producer takes for the
// word to finish.
func (p *proc) closeInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// killedBy says whether the process ended by that signal.
func (p *proc) killedBy(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.runs() || p.cmd.ProcessState == nil {
		return false
	}
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == s
}

// unborn says whether SIGTERM ended the process before the first thing it does, which
// is to take that signal over: it had neither said nor begun anything. Where twenty
// processes share two processors, that takes a second from when they are started.
func (p *proc) unborn() bool {
	if !p.killedBy(syscall.SIGTERM) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.log)
	return err == nil && info.Size() == p.empty
}
