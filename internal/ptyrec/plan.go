package ptyrec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A plan is what will be run.
type plan struct {
	path    string
	args    []string // argv, args[0] included
	command []string // what was asked for, as the events have it; empty for a shell
	env     []string
}

func (p plan) exec(session string) *exec.Cmd {
	env := append(slices.Clone(p.env), "TAPEDECK_SESSION="+session)
	return &exec.Cmd{Path: p.path, Args: p.args, Env: env}
}

// line is the command for people.
func (p plan) line() string {
	if len(p.command) == 0 {
		return p.path
	}
	return strings.Join(p.command, " ")
}

// plan decides what to run: what the arguments say, or else what the client of
// sshd asked for, or else a shell.
func (c *Command) plan(env environ) (plan, error) {
	argv := c.Argv
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	original := env.get("SSH_ORIGINAL_COMMAND")
	p := plan{env: c.commandEnv(env)}
	switch {
	case len(argv) > 0 && c.ShellCommand != "":
		return p, errors.New("give a command or --shell-command, not both")
	case len(argv) > 0:
		return c.planArgv(p, argv)
	case c.ShellCommand != "":
		return c.planLine(p, env, c.ShellCommand)
	case original != "":
		return c.planLine(p, env, original)
	}
	shell, err := c.shell(env)
	if err != nil {
		return p, err
	}
	name := filepath.Base(shell)
	if c.LoginShell || fromSSHD(env) {
		name = "-" + name
	}
	p.path, p.args = shell, []string{name}
	return p, nil
}

// commandEnv is the environment of the command. Where this program is the
// account's shell, the one behind it is named instead, so that what starts
// shells in the session does not start recordings in the recording.
func (c *Command) commandEnv(env environ) []string {
	out := env.forCommand()
	if isSelf(env.get("SHELL")) {
		if shell, err := c.shell(env); err == nil {
			out = append(out, "SHELL="+shell)
		}
	}
	return out
}

func (c *Command) planArgv(p plan, argv []string) (plan, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return p, startError(argv[0], err)
	}
	p.path, p.args, p.command = path, argv, argv
	return p, nil
}

// planLine has the shell run a line, as sshd would have.
func (c *Command) planLine(p plan, env environ, line string) (plan, error) {
	shell, err := c.shell(env)
	if err != nil {
		return p, err
	}
	p.command = []string{line}
	if rest, ok := cutWord(line, "internal-sftp"); ok {
		server, err := sftpServer()
		if err != nil {
			return p, err
		}
		line = server + rest
	}
	p.path, p.args = shell, []string{filepath.Base(shell), "-c", line}
	return p, nil
}

func cutWord(line, word string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(line, word)
	return rest, ok && (rest == "" || rest[0] == ' ')
}

// sftpServer stands in for sshd's internal-sftp, which only sshd can run.
func sftpServer() (string, error) {
	for _, path := range []string{
		"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server",
	} {
		if runnable(path) {
			return path, nil
		}
	}
	return "", &ExitError{Code: ExitNotFound, Err: errors.New("run internal-sftp: no sftp-server on this machine; install OpenSSH's (openssh-sftp-server)")}
}

// shell finds the shell to run, which must not be this program again.
func (c *Command) shell(env environ) (string, error) {
	if c.Shell != "" {
		path, err := exec.LookPath(c.Shell)
		if err != nil {
			return "", startError(c.Shell, err)
		}
		if isSelf(path) {
			return "", &ExitError{Code: ExitConfig, Err: fmt.Errorf("shell %s is this program", c.Shell)}
		}
		return path, nil
	}
	for _, path := range []string{env.get("SHELL"), accountShell(os.Getuid()), "/bin/bash", "/bin/sh"} {
		if filepath.IsAbs(path) && runnable(path) && !isSelf(path) {
			return path, nil
		}
	}
	return "", &ExitError{Code: ExitNotFound, Err: errors.New("no shell found; name one with --shell or TAPEDECK_SHELL")}
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func isSelf(path string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	a, errA := os.Stat(self)
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// accountShell is the account's shell in the password file, "" if the account
// is kept elsewhere.
func accountShell(uid int) string {
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 7 && f[2] == fmt.Sprint(uid) {
			return f[6]
		}
	}
	return ""
}

// ShellArgs turns the arguments of a program that runs as somebody's shell into
// those of its record command: a name that begins with '-' is a login shell,
// "-c LINE" is how sshd and su run a line, and no arguments at all are a shell
// if the account's shell is this program. ok is false for any other call.
func ShellArgs(argv []string) (args []string, ok bool) {
	if len(argv) == 0 {
		return nil, false
	}
	args = []string{"record"}
	login := strings.HasPrefix(argv[0], "-")
	if login {
		args = append(args, "--login-shell")
	}
	switch {
	case len(argv) == 3 && argv[1] == "-c":
		return append(args, "--shell-command="+argv[2]), true
	case len(argv) == 1 && (login || isSelf(accountShell(os.Getuid()))):
		return args, true
	}
	return nil, false
}

// maxCommand bounds the command in an event, so that the event fits.
const maxCommand = 16 << 10

// clip shortens a command that is too long for an event and says so in it.
func clip(argv []string) []string {
	left := maxCommand
	for i, arg := range argv {
		if left -= len(arg) + 1; left >= 0 {
			continue
		}
		cut := arg[:max(0, len(arg)+left)]
		total := len(strings.Join(argv, " "))
		return append(slices.Clone(argv[:i]), fmt.Sprintf("%s[... %d bytes in all]", strings.ToValidUTF8(cut, ""), total))
	}
	return argv
}
