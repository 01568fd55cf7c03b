// Package e2e runs the real commands, as processes, against each other.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is the directory of the commands under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tapedeck-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin = dir
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, raceFlags...)
	build := exec.Command("go", append(args, "../../cmd/tapedeck", "../../cmd/producer")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the commands: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// An installation is one `tapedeck up` over one directory.
type installation struct {
	t   *testing.T
	dir string
	up  *exec.Cmd
	log *syncBuffer
}

// startInstallation starts `tapedeck up` and waits until it is ready. It is
// stopped when the test ends, and must then end cleanly.
func startInstallation(t *testing.T, args ...string) *installation {
	t.Helper()
	in := &installation{t: t, dir: t.TempDir()}
	in.start(args...)
	t.Cleanup(in.stop)
	return in
}

func (in *installation) start(args ...string) {
	in.t.Helper()
	in.log = new(syncBuffer)
	in.up = exec.Command(filepath.Join(bin, "tapedeck"), append([]string{"up", "--dir", in.dir}, args...)...)
	in.up.Stdout, in.up.Stderr = in.log, in.log
	if err := in.up.Start(); err != nil {
		in.t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(filepath.Join(in.dir, "connect.json")); err == nil {
			if _, err := in.try("doctor", "--quick"); err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			_ = in.up.Process.Kill()
			_ = in.up.Wait()
			in.t.Fatalf("tapedeck up is not ready after 30 s:\n%s", in.log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// kill ends `up` as a power cut would, and nothing is told.
func (in *installation) kill() {
	in.t.Helper()
	if err := in.up.Process.Signal(syscall.SIGKILL); err != nil {
		in.t.Fatal(err)
	}
	_ = in.up.Wait()
	in.up = nil
}

func (in *installation) stop() {
	if in.up == nil {
		return
	}
	_ = in.up.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- in.up.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			in.t.Errorf("tapedeck up: %v\n%s", err, in.log)
		}
	case <-time.After(40 * time.Second):
		_ = in.up.Process.Kill()
		in.t.Errorf("tapedeck up does not stop:\n%s", in.log)
	}
	in.up = nil
}

// command is a tapedeck command line on this installation.
func (in *installation) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "tapedeck"), args...)
	cmd.Env = append(os.Environ(), "TAPEDECK_DIR="+in.dir, "TERM=xterm-256color")
	return cmd
}

// try runs a command and returns its standard output.
func (in *installation) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := in.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("tapedeck %s: %w: %s%s", strings.Join(args, " "), err, errs.String(), tail(out.String()))
	}
	return out.String(), nil
}

// must is try for what has to work.
func (in *installation) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := in.try(args...)
	if err != nil {
		t.Fatalf("%v\nup said:\n%s", err, in.log)
	}
	return out
}

// A syncBuffer is what a process has said so far.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
