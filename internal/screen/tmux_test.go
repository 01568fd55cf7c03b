package screen_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tmux is a terminal that can be asked what it shows: a server of its own with one
// window, kept for as many screens as a test asks for.
type tmux struct {
	t      testing.TB
	dir    string
	runs   int
	socket string
}

func newTmux(t testing.TB, cols, rows int) *tmux {
	t.Helper()
	dir := t.TempDir()
	m := &tmux{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	m.run("new-session", "-d", "-x", fmt.Sprint(cols), "-y", fmt.Sprint(rows), "sleep 1000", ";", "set", "-g", "status", "off", ";", "set", "-g", "remain-on-exit", "on")
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

// shown is what a terminal shows.
type shown struct {
	styled string // rows with colors and attributes, as tmux writes them
	cursor string // column, row, and whether it is shown
}

// show gives a fresh window of a size some output, and says what it shows then.
func (m *tmux) show(cols, rows int, output []byte) shown {
	m.t.Helper()
	m.runs++
	file, ended := filepath.Join(m.dir, "output"), fmt.Sprintf("ended-%d", m.runs)
	if err := os.WriteFile(file, output, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.run("resize-window", "-x", fmt.Sprint(cols), "-y", fmt.Sprint(rows), ";",
		"respawn-pane", "-k", fmt.Sprintf(`stty raw -echo; cat %s; printf '\033\134\033]2;%s\007'; sleep 1000`, file, ended))
	for deadline := time.Now().Add(30 * time.Second); strings.TrimSpace(m.run("display", "-p", "#{pane_title}")) != ended; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatal("tmux did not come to the end of the output")
		}
	}
	cursor := m.run("display", "-p", "#{cursor_x} #{cursor_y} #{cursor_flag}")
	return shown{styled: strings.TrimRight(m.run("capture-pane", "-p", "-e", "-N"), "\n"), cursor: strings.TrimSpace(cursor)}
}

// trim takes spaces from the ends of lines, and empty lines from the end.
func trim(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}
