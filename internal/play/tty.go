package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// OnTerminal plays a recording on out. If out is a terminal, keys are read from
// the process's controlling terminal, so standard input may be anything;
// otherwise it plays without clearing a screen and without keys. Notes go to
// notes when the terminal is as it was before.
func OnTerminal(ctx context.Context, o Options, open Open, jump Jump, out *os.File, notes io.Writer) (err error) {
	p := &Player{Options: o, Open: open, Jump: jump, Out: out, Notes: notes}
	if !term.IsTerminal(int(out.Fd())) {
		return p.Run(ctx)
	}
	p.Screen = true
	if p.Width, p.Height, err = term.GetSize(int(out.Fd())); err != nil {
		return fmt.Errorf("get size of terminal: %w", err)
	}
	kb, err := openKeyboard(int(out.Fd()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kb.close()) }()
	p.Keys = kb.keys
	err = p.Run(ctx)
	if o.Raw {
		time.Sleep(replyTime)
	}
	return err
}

// replyTime is how long the answers of the terminal to what raw bytes asked it
// are still read, so that the shell does not get them as if they were typed.
const replyTime = 100 * time.Millisecond

// A keyboard is the controlling terminal in raw mode, read for keys.
type keyboard struct {
	keys  chan Key
	tty   *os.File // nil if there is none
	done  chan struct{}
	wait  sync.WaitGroup
	reset func() error
}

// openKeyboard puts the terminal fd into raw mode and reads keys from the
// controlling terminal, if the process has one.
func openKeyboard(fd int) (*keyboard, error) {
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("put terminal into raw mode: %w", err)
	}
	k := &keyboard{done: make(chan struct{}), reset: func() error { return term.Restore(fd, before) }}
	// Opened by name it is a file of its own, whose reads can be ended; those of
	// standard input cannot.
	if tty, err := os.Open("/dev/tty"); err == nil { // else there are no keys
		k.tty, k.keys = tty, make(chan Key)
		k.wait.Go(func() { readKeys(k.tty, k.keys, k.done) })
	}
	return k, nil
}

// close ends the reading and puts the terminal back.
func (k *keyboard) close() error {
	close(k.done)
	if k.tty != nil {
		_ = k.tty.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		k.wait.Wait()
		_ = k.tty.Close()
	}
	if err := k.reset(); err != nil {
		return fmt.Errorf("put terminal back: %w", err)
	}
	return nil
}
