package e2e

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// runForStatus is the script command "status N COMMAND…": the command must end
// with that exit status and, unless it is 0, say why in one line that is no stack trace.
func runForStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	stderr := ts.ReadFile("stderr")
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d; it said %q", strings.Join(args[1:], " "), got, want, stderr)
	}
	if strings.Contains(stderr, "goroutine ") || strings.Contains(stderr, "panic") {
		ts.Fatalf("%s: a stack trace: %s", strings.Join(args[1:], " "), stderr)
	}
	if want != 0 && strings.TrimSpace(stderr) == "" && strings.TrimSpace(ts.ReadFile("stdout")) == "" {
		ts.Fatalf("%s: it failed without a word", strings.Join(args[1:], " "))
	}
}
