package ptyrec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// Exit statuses that are not the command's own. The command's status is passed
// on as it is, and 128 plus the signal's number for a command that a signal
// ended.
const (
	ExitUsage      = 64  // the arguments are wrong
	ExitRecording  = 74  // the recording broke or could not be finished; the command was hung up if it still ran
	ExitBus        = 75  // the bus could not be reached or took no session in time; the command was not run
	ExitPermission = 77  // the bus refuses this user; the command was not run
	ExitConfig     = 78  // a setting is wrong, or Tapedeck is not installed on the bus; the command was not run
	ExitNoExec     = 126 // the command was found and cannot be run
	ExitNotFound   = 127 // the command was not found
)

// ExitHelp is the table of exit statuses for a program's help.
const ExitHelp = `Exit status: that of the command; 128+N if signal N ended it. Otherwise:

  64    the arguments are wrong
  74    the recording broke or could not be finished (the command was hung up)
  75    the bus could not be reached within --connect-timeout (the command was not run)
  77    the bus refuses this user (the command was not run)
  78    a setting is wrong, or Tapedeck's streams are not on the bus (the command was not run)
  126   the command cannot be executed
  127   the command was not found`

// An ExitError says with which status the program should end. Err is nil if
// that is the status of the command, and has been shown otherwise.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("command ended with status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is Code; kong looks for it.
func (e *ExitError) ExitCode() int { return e.Code }

func exitStatus(code int) error {
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code}
}

// statusOf is the exit status of a command that has ended, as a shell has it.
func statusOf(ps *os.ProcessState) int {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}

// startError is why a command did not run at all.
func startError(name string, err error) error {
	code := ExitNoExec
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = ExitNotFound
	}
	return &ExitError{Code: code, Err: fmt.Errorf("run %s: %w", name, cause(err))}
}

// cause takes the path off an error that will be shown behind it.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var execErr *exec.Error
	if errors.As(err, &execErr) {
		return execErr.Err
	}
	return err
}

func beginError(err error) error {
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit
	}
	code, next := ExitBus, "is NATS running, and is --nats-url right? The command was not run"
	switch {
	case errors.Is(err, bus.ErrPermission):
		code, next = ExitPermission, "give this NATS user what a producer needs; the command was not run"
	case errors.Is(err, bus.ErrNotInstalled):
		code, next = ExitConfig, "start tapedeck or a slicer on it once; the command was not run"
	case errors.Is(err, bus.ErrConflict), errors.Is(err, bus.ErrEnded):
		code, next = ExitConfig, "leave --session-id out; the command was not run"
	case errors.Is(err, bus.ErrName):
		code, next = ExitConfig, "the command was not run"
	case errors.Is(err, context.DeadlineExceeded):
		next = "is NATS running, and is --nats-url right? (--connect-timeout is how long to try). The command was not run"
	}
	return &ExitError{Code: code, Err: fmt.Errorf("no recording, no session: %w; %s", err, next)}
}

func brokenError(err error) error {
	err = fmt.Errorf("the recording is not whole: %w", err)
	if errors.Is(err, recorder.ErrBusAway) {
		err = fmt.Errorf("%w; the command was hung up because --on-bus-failure is fail", err)
	}
	return &ExitError{Code: ExitRecording, Err: err}
}
