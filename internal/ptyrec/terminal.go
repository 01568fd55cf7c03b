package ptyrec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// drainQuiet is how long the terminal of a command that has ended may be
// silent before its output counts as complete, when something it left behind
// still holds the terminal open.
const drainQuiet = 200 * time.Millisecond

// runTerminal runs the command on a terminal of its own and returns its status
// when everything that it printed was recorded and shown.
func (r *run) runTerminal(ctx context.Context, cmd *exec.Cmd) (int, error) {
	in, err := newInput(r.deps.Stdin)
	if err != nil {
		return 0, err
	}
	defer in.close()
	restore, err := makeRaw(r.deps.Stdin)
	if err != nil {
		return 0, err
	}
	defer restore()
	master, err := startOnPTY(cmd, r.size)
	if err != nil {
		return 0, startError(cmd.Path, err)
	}
	defer master.Close() //nolint:errcheck // read to its end

	exited := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { r.signals.forward(ctx, target{pid: -cmd.Process.Pid}, r.session.Done(), exited) })
	helpers.Go(func() { r.followSize(ctx, master, exited) })
	helpers.Go(func() { in.copy(master) })
	output := make(chan error, 1)
	go func() { output <- r.copyOutput(master, exited) }()

	_ = cmd.Wait() // its status is in ProcessState
	close(exited)
	_ = master.SetReadDeadline(time.Now().Add(drainQuiet))
	err = <-output
	_ = master.SetWriteDeadline(time.Now()) // a command that did not read holds up nobody
	in.stop()
	helpers.Wait()
	return statusOf(cmd.ProcessState), err
}

// startOnPTY starts the command and returns the other end of its terminal,
// which can be read with a deadline.
func startOnPTY(cmd *exec.Cmd, size Size) (*os.File, error) {
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(size.Columns), Rows: uint16(size.Rows)})
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // a copy goes on
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// makeRaw makes the outer terminal raw, if there is one, and returns what puts
// it back.
func makeRaw(f *os.File) (restore func(), err error) {
	if !isTerminal(f) {
		return func() {}, nil
	}
	fd := int(f.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return func() { _ = term.Restore(fd, state) }, nil // fails only if it is gone
}

// copyOutput records and shows what the command prints until its terminal is
// closed. Once the command has exited it also stops when the terminal is silent
// or drainMost bytes have come: that is more than a terminal holds, so it comes
// from something that the command left behind.
func (r *run) copyOutput(master *os.File, exited <-chan struct{}) error {
	show := &shower{w: r.deps.Stdout}
	buf := make([]byte, 32<<10)
	left := drainMost
	for {
		n, err := master.Read(buf)
		if n > 0 {
			if !r.recordOutput(buf[:n]) {
				discard(master)
				return nil
			}
			show.write(buf[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && readable(master) > 0:
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, syscall.EIO):
			return nil
		default:
			return fmt.Errorf("read terminal: %w", err)
		}
		select {
		case <-exited:
			if left -= n; left < 0 {
				return nil
			}
			_ = master.SetReadDeadline(time.Now().Add(drainQuiet))
		default:
		}
	}
}

// drainMost is how much output may come from a terminal whose command has ended.
const drainMost = 1 << 20

// discard reads on when the recording is broken, so that a command that is
// being hung up is not stuck in a write. The deadline set at its exit ends it.
func discard(master *os.File) {
	_, _ = io.Copy(io.Discard, master)
}

// readable is how many bytes wait to be read.
func readable(f *os.File) int {
	n := 0
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}

// recordOutput hands output to the recorder. If that takes long, because the
// bus is away and the queue is full, the person is told. It is false if the
// recording is broken, of which end says why.
func (r *run) recordOutput(b []byte) bool {
	var told atomic.Bool
	patience := time.AfterFunc(sayAfter, func() {
		told.Store(true)
		reason := ""
		if err := r.session.Waiting(); err != nil {
			reason = fmt.Sprintf(" (%v)", err)
		}
		r.say("the event bus takes no events%s; output waits until it does", reason)
	})
	_, err := r.session.Write(b)
	if !patience.Stop() && told.Load() && err == nil {
		r.say("the event bus is back")
	}
	return err == nil
}

// sayAfter is how long the bus may keep a person waiting without a word.
const sayAfter = 2 * time.Second

// A shower shows output until nobody takes it any more.
type shower struct {
	w    io.Writer
	gone bool
}

func (s *shower) write(b []byte) {
	if s.gone || s.w == nil {
		return
	}
	if _, err := s.w.Write(b); err != nil {
		s.gone = true
	}
}

// followSize gives the command's terminal the size of the outer one, and
// records each change.
func (r *run) followSize(ctx context.Context, master *os.File, done <-chan struct{}) {
	last := r.size
	for {
		select {
		case <-done:
			return
		case <-r.signals.size:
		}
		size, ok := outerSize(r.deps)
		if !ok || size == last {
			continue
		}
		last = size
		setSize(master, size)
		if err := r.session.Resize(ctx, size.Columns, size.Rows); err != nil {
			r.deps.Logger.Warn("record resize", "session", r.session.ID(), "err", err)
		}
	}
}

func setSize(f *os.File, size Size) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Columns), Row: uint16(size.Rows)})
		})
	}
}
