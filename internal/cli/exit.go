package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit statuses; the package comment and `tapedeck --help` list them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTruncated   = 3
	exitCorrupt     = 4
	exitMissing     = 5
	exitIncomplete  = 6
	exitDiffers     = 7
	exitInterrupted = 130
)

// A statusError ends the command with a status of its own. With a nil err the
// command has said everything already.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// withStatus gives err an exit status of its own.
func withStatus(status int, err error) error { return &statusError{status, err} }

// exitStatus writes what is left to say about err, on one line, and returns the
// status to end with.
func exitStatus(stderr io.Writer, name string, err error) int {
	if err == nil {
		return exitOK
	}
	status := exitFailed
	if coded, ok := errors.AsType[*statusError](err); ok {
		if coded.err == nil {
			return coded.status
		}
		status = coded.status
	} else if errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, clean(oneLine(err.Error())))
	return status
}

// oneLine folds joined errors, which stand one to a line, into one line.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
