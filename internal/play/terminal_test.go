package play

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tmux is a terminal that can be asked what it shows.
type tmux struct {
	t      *testing.T
	socket string
}

// newTmux starts a tmux server of its own, with one window of the given size
// that runs a shell command and stays.
func newTmux(t *testing.T, width, height int, command string) *tmux {
	t.Helper()
	m := &tmux{t: t, socket: filepath.Join(t.TempDir(), "s")}
	m.run("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), ";", "set", "-g", "status", "off", ";",
		"respawn-pane", "-k", command+`; printf '\033]2;ended\007'; sleep 1000`)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", m.socket, "kill-server").Run() }) // gone already is as good
	return m
}

func (m *tmux) run(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", m.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// screen is what the window shows, colours included.
func (m *tmux) screen() string {
	return strings.TrimRight(m.run("capture-pane", "-p", "-e"), "\n")
}

// until waits for the window to be as wanted.
func (m *tmux) until(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited for %s; the screen shows:\n%s", what, m.screen())
		}
	}
}

// settled waits until the window's command has ended, and returns the screen.
// The title that follows the output says so: what is before it is then shown.
func (m *tmux) settled() string {
	m.t.Helper()
	m.until("the command to end", func() bool { return strings.TrimSpace(m.run("display", "-p", "#{pane_title}")) == "ended" })
	return m.screen()
}

// shown is the screen after a terminal was sent these bytes, as a program that
// holds the terminal in raw mode sends them.
func shown(t *testing.T, width, height int, output []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(file, output, 0o600); err != nil {
		t.Fatal(err)
	}
	return newTmux(t, width, height, "stty raw -echo; cat "+file).settled()
}
