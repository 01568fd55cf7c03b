package ptyrec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// hangUpAfter is how long a command may take to end after a SIGTERM. After
// that it is hung up, which is what ends a shell.
const hangUpAfter = 5 * time.Second

// signals are those that somebody sends to this program and means for the
// command. One that was ignored when the program began (nohup) stays ignored.
type signals struct {
	c    chan os.Signal
	size chan os.Signal
	pipe chan os.Signal
}

func watchSignals() *signals {
	s := &signals{c: make(chan os.Signal, 8), size: make(chan os.Signal, 1), pipe: make(chan os.Signal, 1)}
	for _, sig := range []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	} {
		if !signal.Ignored(sig) {
			signal.Notify(s.c, sig)
		}
	}
	signal.Notify(s.size, syscall.SIGWINCH)
	// Output that nobody takes any more must not end the program before the
	// recording is finished. A caught signal is the default again in the command.
	if !signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(s.pipe, syscall.SIGPIPE)
	}
	return s
}

func (s *signals) stop() {
	signal.Stop(s.c)
	signal.Stop(s.size)
	signal.Stop(s.pipe)
}

// A caught is the cause of a context that a signal ended.
type caught syscall.Signal

func (c caught) Error() string { return fmt.Sprintf("signal %s", syscall.Signal(c)) }

// cancels makes a context that a signal to end ends. It is for the time before
// there is a command to pass signals to.
func (s *signals) cancels(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-s.c:
				if sig != syscall.SIGUSR1 && sig != syscall.SIGUSR2 {
					cancel(caught(sig.(syscall.Signal)))
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// cause is the signal that ended a context of cancels, 0 if it was none.
func (s *signals) cause(ctx context.Context) syscall.Signal {
	var sig caught
	if errors.As(context.Cause(ctx), &sig) {
		return syscall.Signal(sig)
	}
	return 0
}

// A target is the running command, as signals see it.
type target struct {
	pid int
	// fromTerminal: a key that makes a SIGINT or SIGQUIT reaches the command by
	// itself, because it is in the terminal's foreground with us.
	fromTerminal bool
}

// send passes a signal on. A command on its own terminal leads a process group
// that is signalled as one, as its terminal would.
func (t target) send(sig syscall.Signal) {
	if t.fromTerminal && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) {
		return
	}
	_ = syscall.Kill(t.pid, sig) // fails only if it is gone
}

// forward passes signals on until done is closed. When ctx ends the command is
// asked to end. When broken is closed it is hung up, and killed if it stays.
func (s *signals) forward(ctx context.Context, t target, broken, done <-chan struct{}) {
	var hangUp, kill <-chan time.Time
	ended := ctx.Done()
	terminate := func(sig syscall.Signal) {
		t.send(sig)
		if sig == syscall.SIGTERM && hangUp == nil {
			hangUp = time.After(hangUpAfter)
		}
	}
	for {
		select {
		case <-done:
			return
		case sig := <-s.c:
			terminate(sig.(syscall.Signal))
		case <-ended:
			ended = nil
			terminate(syscall.SIGTERM)
		case <-hangUp:
			t.send(syscall.SIGHUP)
		case <-broken:
			broken = nil
			t.send(syscall.SIGHUP)
			kill = time.After(hangUpAfter)
		case <-kill:
			t.send(syscall.SIGKILL)
		}
	}
}
