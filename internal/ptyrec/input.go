package ptyrec

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// endOfFile is the character that ends input on a terminal.
const endOfFile = 4

// An input copies what is typed to the command's terminal until it is stopped.
// It waits in poll rather than in read, so that it can be stopped while nobody
// types, without taking a key from whoever reads the outer terminal next.
type input struct {
	from   *os.File
	woken  *os.File // readable when the input is stopped
	wake   *os.File // closed to stop it
	midway bool     // the last byte was no line feed
}

func newInput(from *os.File) (*input, error) {
	woken, wake, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	return &input{from: from, woken: woken, wake: wake}, nil
}

// stop ends copy as soon as it waits for input.
func (in *input) stop() { _ = in.wake.Close() }

// close is for when copy has ended.
func (in *input) close() {
	in.stop()
	_ = in.woken.Close()
}

func (in *input) copy(to *os.File) {
	buf := make([]byte, 4<<10)
	for in.ready() {
		n, err := in.from.Read(buf)
		if n > 0 {
			in.midway = buf[n-1] != '\n'
			if _, err := to.Write(buf[:n]); err != nil {
				return // the terminal is closed
			}
		}
		if err != nil {
			in.end(to)
			return
		}
	}
}

// end tells the command that no more input comes. In the middle of a line the
// first end of file only hands over the line.
func (in *input) end(to *os.File) {
	eof := []byte{endOfFile}
	if in.midway {
		eof = append(eof, endOfFile)
	}
	_, _ = to.Write(eof) // fails only on a closed terminal
}

// ready waits for input. It is false when the input was stopped.
func (in *input) ready() bool {
	fds := []unix.PollFd{
		{Fd: int32(in.from.Fd()), Events: unix.POLLIN},
		{Fd: int32(in.woken.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && fds[1].Revents == 0
	}
}
