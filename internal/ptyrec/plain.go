package ptyrec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// runPlain runs the command on our own standard input, output and error.
func (r *run) runPlain(ctx context.Context, cmd *exec.Cmd) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.deps.Stdin, r.deps.Stdout, r.deps.Stderr
	var taps []*tap
	if r.cmd.RecordOutput {
		var err error
		if taps, err = r.tapOutput(cmd); err != nil {
			return 0, err
		}
	}
	if err := cmd.Start(); err != nil {
		closeTaps(taps)
		return 0, startError(cmd.Path, err)
	}
	var copying sync.WaitGroup
	for _, t := range taps {
		_ = t.in.Close() // the command has it
		copying.Go(func() { t.copy(r) })
	}
	exited := make(chan struct{})
	var helpers sync.WaitGroup
	to := target{
		pid:          cmd.Process.Pid,
		fromTerminal: isTerminal(r.deps.Stdin) || isTerminal(r.deps.Stdout) || isTerminal(r.deps.Stderr),
	}
	helpers.Go(func() { r.signals.forward(ctx, to, r.session.Done(), exited) })
	_ = cmd.Wait() // its status is in ProcessState
	close(exited)
	helpers.Wait()
	copying.Wait()
	return statusOf(cmd.ProcessState), nil
}

// A tap is a pipe from the command to one of our outputs.
type tap struct {
	in  *os.File // the command's end
	out *os.File // ours
	to  *os.File
}

func (r *run) tapOutput(cmd *exec.Cmd) ([]*tap, error) {
	var taps []*tap
	for _, to := range []*os.File{r.deps.Stdout, r.deps.Stderr} {
		out, in, err := os.Pipe()
		if err != nil {
			closeTaps(taps)
			return nil, fmt.Errorf("open pipe: %w", err)
		}
		taps = append(taps, &tap{in: in, out: out, to: to})
	}
	cmd.Stdout, cmd.Stderr = taps[0].in, taps[1].in
	return taps, nil
}

func closeTaps(taps []*tap) {
	for _, t := range taps {
		_ = t.in.Close()
		_ = t.out.Close()
	}
}

// copy records and passes on until the command, and whatever it left behind,
// has closed its end. When nobody takes the output, or it cannot be recorded,
// our end is closed, and the command learns it as it would without us.
func (t *tap) copy(r *run) {
	defer t.out.Close() //nolint:errcheck // read to its end
	buf := make([]byte, 32<<10)
	for {
		n, err := t.out.Read(buf)
		if n > 0 {
			if !r.recordOutput(buf[:n]) {
				return
			}
			if _, err := t.to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return // io.EOF: a pipe has no other
		}
	}
}
