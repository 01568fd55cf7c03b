package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A sshd is a real one on a port of its own, with the producer as its forced
// command, for the account that runs the tests.
type sshd struct {
	*site
	addr  string
	flags []string // of ssh, scp and sftp, but for the port
	port  string
	login string
}

// tool finds a program that the test cannot do without.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("%s is not installed: run scripts/install-test-deps.sh", name)
	}
	return path
}

func must(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// startSSHD starts one. The settings come before its own, and the first one
// counts; PRODUCER in them is the producer's path.
func startSSHD(t *testing.T, settings ...string) *sshd {
	t.Helper()
	path := tool(t, "sshd")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{site: newSite(t), addr: refusing(t), login: me.Username}
	_, s.port, _ = net.SplitHostPort(s.addr)
	key := func(name string) string {
		file := filepath.Join(s.dir, name)
		must(t, exec.CommandContext(t.Context(), tool(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", file))
		return file
	}
	host, client := key("host"), key("client")
	if me.Uid == "0" { // where sshd keeps nothing, and wants to keep it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(s.dir, "sshd_config")
	lines := append(settings,
		"ListenAddress "+s.addr,
		"HostKey "+host,
		"AuthorizedKeysFile "+client+".pub",
		"PidFile none",
		"StrictModes no",
		"UsePAM no",
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"SetEnv TAPEDECK_NATS_URL="+s.url+" TAPEDECK_NODE=host TAPEDECK_USER=joe",
		"ForceCommand PRODUCER record",
	)
	text := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "PRODUCER", s.producer)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.flags = []string{
		"-F", "none", "-i", client, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
	}
	s.serve(t, exec.CommandContext(t.Context(), path, "-D", "-e", "-f", config))
	return s
}

func (s *sshd) serve(t *testing.T, daemon *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("sshd:\n%s", log.String())
		}
	})
	var dialer net.Dialer
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := dialer.DialContext(t.Context(), "tcp", s.addr); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("sshd does not answer")
		}
	}
}

// client is a call of ssh, or of scp and sftp, which spell the port -P.
func (s *sshd) client(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	port := "-P"
	if name == "ssh" {
		port = "-p"
	}
	cmd := exec.CommandContext(ctx, tool(t, name), append(append([]string{port, s.port}, s.flags...), args...)...)
	cmd.Dir = s.dir
	return cmd
}

func (s *sshd) at() string { return s.login + "@127.0.0.1" }

// sessions are all that the bus has, once they are over.
func (s *sshd) sessions(t testing.TB, want int) []*tape {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		tapes := s.tapes(t)
		over := 0
		for _, tp := range tapes {
			if tp.ended {
				over++
			}
		}
		if over == want && len(tapes) == want {
			return tapes
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions, %d of them over, want %d", len(tapes), over, want)
		}
	}
}

func TestSSHRunsACommand(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	cmd := s.client(t, "ssh", s.at(), "echo out; echo err >&2; exit 7")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if got := status(cmd, cmd.Run()); got != "exit status 7" || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("%s, %q, %q", got, out.String(), errs.String())
	}
	tp := s.sessions(t, 1)[0]
	start, run := tp.events[0].(*events.SessionStart), tp.events[1].(*events.Exec)
	if tp.types != "session.start exec session.end" || run.Command.Command != "echo out; echo err >&2; exit 7" || run.Command.ExitCode != "7" {
		t.Errorf("%s: %v", tp.types, run)
	}
	if c := start.Connection; !strings.HasPrefix(c.RemoteAddr, "127.0.0.1:") || c.LocalAddr != s.addr || c.Protocol != "ssh" || start.Server.ServerAddr != s.addr {
		t.Errorf("connection: %v", c)
	}
	if start.User.User != "joe" || start.User.Login != s.login || start.Server.ServerId != "host" {
		t.Errorf("user %v on %v", start.User, start.Server)
	}
}

func TestSSHHoldsAnInteractiveSession(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	p := sit(t, s.client(t, "ssh", "-tt", s.at()), 91, 33)
	p.sees("\x1b[?2004h") // the shell reads a line
	p.types("PS1='> '; stty size; shopt -q login_shell && echo log''in\r")
	p.sees("33 91")
	p.sees("\nlogin")
	p.resize(120, 40)
	time.Sleep(300 * time.Millisecond)
	p.types("stty size; printf 'caf\\303\\251 \\033[31m\\342\\202\\254\\n'\r")
	p.sees("40 120")
	p.sees("café \x1b[31m€")
	p.types("exit 5\r")
	if got := p.leaves(); got != "exit status 5" {
		t.Errorf("%s: %q", got, p.screen())
	}
	tp := s.sessions(t, 1)[0]
	if string(tp.text) != p.screen() {
		t.Errorf("recorded %q, shown %q", tp.text, p.screen())
	}
	if start := tp.events[0].(*events.SessionStart); start.TerminalSize != "91:33" || len(start.InitialCommand) != 0 {
		t.Errorf("start: %v", start)
	}
	if tp.types != "session.start print resize print session.end" {
		t.Errorf("events: %s", tp.types)
	}
}

func TestSSHRunsACommandOnATerminal(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	p := sit(t, s.client(t, "ssh", "-tt", s.at(), "tty >/dev/null && echo on a terminal; exit 3"), 80, 24)
	if got := p.leaves(); got != "exit status 3" || p.screen() != "on a terminal\r\n" {
		t.Errorf("%s: %q", got, p.screen())
	}
	if tp := s.sessions(t, 1)[0]; string(tp.text) != p.screen() {
		t.Errorf("recorded %q", tp.text)
	}
}

func TestSSHThatLosesItsClientEndsTheSession(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	p := sit(t, s.client(t, "ssh", "-tt", s.at(), "echo ready; sleep 100"), 80, 24)
	p.sees("ready")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.leaves()
	if tp := s.sessions(t, 1)[0]; string(tp.text) != "ready\r\n" {
		t.Errorf("recorded %q", tp.text)
	}
}

func TestSSHWithoutABusSaysSoAndDoesNotHang(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "ForceCommand PRODUCER record --connect-timeout=500ms")
	ran := filepath.Join(s.dir, "ran")
	s.srv.Shutdown()
	p := sit(t, s.client(t, "ssh", "-tt", s.at(), "touch "+ran), 80, 24)
	if got := p.leaves(); got != "exit status 75" || !strings.Contains(p.screen(), "The command was not run") {
		t.Errorf("%s: %q", got, p.screen())
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran without being recorded")
	}
}

func TestFilesAreCopiedByteForByte(t *testing.T) {
	t.Parallel()
	for _, subsystem := range []string{"internal-sftp", "/usr/lib/openssh/sftp-server"} {
		t.Run(filepath.Base(subsystem), func(t *testing.T) {
			t.Parallel()
			s := startSSHD(t, "Subsystem sftp "+subsystem)
			data := noise(t, 3<<20)
			local := filepath.Join(s.dir, "local")
			if err := os.WriteFile(local, data, 0o600); err != nil {
				t.Fatal(err)
			}
			there := func(name string) string { return filepath.Join(s.dir, name) }
			calls := []*exec.Cmd{
				s.client(t, "scp", local, s.at()+":"+there("scp-up")),
				s.client(t, "scp", s.at()+":"+local, there("scp-down")),
				s.client(t, "scp", "-O", local, s.at()+":"+there("scp-O-up")),
				s.client(t, "scp", "-O", s.at()+":"+local, there("scp-O-down")),
				s.client(t, "sftp", "-b", "-", s.at()),
			}
			calls[4].Stdin = strings.NewReader(fmt.Sprintf("put %s %s\nget %s %s\n", local, there("sftp-up"), local, there("sftp-down")))
			for _, call := range calls {
				must(t, call)
			}
			for _, name := range []string{"scp-up", "scp-down", "scp-O-up", "scp-O-down", "sftp-up", "sftp-down"} {
				if got, err := os.ReadFile(there(name)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(data), err)
				}
			}
			for _, tp := range s.sessions(t, len(calls)) {
				if tp.types != "session.start exec session.end" || tp.events[1].(*events.Exec).Command.ExitCode != "0" {
					t.Errorf("%s: %v", tp.types, tp.events[1])
				}
			}
		})
	}
}

func TestRsyncAndGitWorkThroughIt(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	shell := "ssh -p " + s.port + " " + strings.Join(s.flags, " ")
	from, repo := filepath.Join(s.dir, "from"), filepath.Join(s.dir, "repo.git")
	if err := os.MkdirAll(filepath.Join(from, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{"a": noise(t, 1<<20), "deep/b": noise(t, 300_000), "deep/empty": nil}
	for name, b := range data {
		if err := os.WriteFile(filepath.Join(from, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(name string, args ...string) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		cmd := exec.CommandContext(ctx, tool(t, name), args...)
		cmd.Dir = s.dir
		cmd.Env = append(s.env, "GIT_SSH_COMMAND="+shell, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		must(t, cmd)
	}
	command("rsync", "-a", "-e", shell, from+"/", s.at()+":"+filepath.Join(s.dir, "rsync-up"))
	command("rsync", "-a", "-e", shell, s.at()+":"+from+"/", "rsync-down")
	command("git", "init", "-q", "--bare", repo)
	command("git", "-C", from, "init", "-q", "-b", "main")
	command("git", "-C", from, "add", ".")
	command("git", "-C", from, "commit", "-q", "-m", "all")
	command("git", "-C", from, "push", "-q", s.at()+":"+repo, "main")
	command("git", "clone", "-q", "-b", "main", s.at()+":"+repo, "cloned")
	for _, copied := range []string{"rsync-up", "rsync-down", "cloned"} {
		for name, want := range data {
			if got, err := os.ReadFile(filepath.Join(s.dir, copied, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s/%s: %d bytes of %d, %v", copied, name, len(got), len(want), err)
			}
		}
	}
	var commands []string
	for _, tp := range s.sessions(t, 4) {
		run, ok := tp.events[1].(*events.Exec)
		if tp.types != "session.start exec session.end" || !ok || run.Command.ExitCode != "0" {
			t.Fatalf("%s: %v", tp.types, tp.events[1])
		}
		commands = append(commands, strings.Fields(run.Command.Command)[0])
	}
	if got := strings.Join(commands, " "); got != "rsync rsync git-receive-pack git-upload-pack" {
		t.Errorf("recorded commands: %s", got)
	}
}
