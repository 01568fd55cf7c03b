package ptyrec

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestWhatIsRun(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "shell")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	ssh := "SSH_CONNECTION=192.0.2.1 4022 198.51.100.2 22"
	tests := []struct {
		name    string
		command Command
		env     []string
		path    string
		args    []string
		said    string // the command as the events have it
	}{
		{"arguments", Command{Argv: []string{"sh", "-x"}}, nil, sh, []string{"sh", "-x"}, "sh -x"},
		{"arguments behind --", Command{Argv: []string{"--", "sh", "-x"}}, nil, sh, []string{"sh", "-x"}, "sh -x"},
		{"arguments rather than what the client asked for", Command{Argv: []string{"sh"}}, []string{"SSH_ORIGINAL_COMMAND=ls"}, sh, []string{"sh"}, "sh"},
		{"a line", Command{ShellCommand: "ls | wc"}, []string{"SHELL=/bin/sh"}, "/bin/sh", []string{"sh", "-c", "ls | wc"}, "ls | wc"},
		{"what the client asked for", Command{}, []string{"SHELL=/bin/bash", ssh, "SSH_ORIGINAL_COMMAND=ls | wc"}, "/bin/bash", []string{"bash", "-c", "ls | wc"}, "ls | wc"},
		{"sshd's own sftp", Command{}, []string{"SHELL=/bin/bash", ssh, "SSH_ORIGINAL_COMMAND=internal-sftp -l INFO"},
			"/bin/bash", []string{"bash", "-c", "/usr/lib/openssh/sftp-server -l INFO"}, "internal-sftp -l INFO"},
		{"a command with a name like it", Command{}, []string{"SHELL=/bin/bash", "SSH_ORIGINAL_COMMAND=internal-sftpx"}, "/bin/bash", []string{"bash", "-c", "internal-sftpx"}, "internal-sftpx"},
		{"a shell", Command{}, []string{"SHELL=/bin/bash"}, "/bin/bash", []string{"bash"}, ""},
		{"a shell that is named", Command{Shell: "/bin/sh"}, []string{"SHELL=/bin/bash"}, "/bin/sh", []string{"sh"}, ""},
		{"a login shell", Command{LoginShell: true}, []string{"SHELL=/bin/bash"}, "/bin/bash", []string{"-bash"}, ""},
		{"a shell under sshd", Command{}, []string{"SHELL=/bin/bash", ssh}, "/bin/bash", []string{"-bash"}, ""},
		{"a shell in a session that sshd once started", Command{}, []string{"SHELL=/bin/bash", ssh, "TAPEDECK_SESSION=x"}, "/bin/bash", []string{"bash"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.command.plan(tt.env)
			if err != nil || p.path != tt.path || !slices.Equal(p.args, tt.args) || strings.Join(p.command, " ") != tt.said {
				t.Errorf("path %s, args %q, command %q, %v", p.path, p.args, p.command, err)
			}
		})
	}
	p, err := (&Command{}).plan(environ{"SHELL=" + link})
	if err != nil || isSelf(p.path) || !slices.Contains(p.env, "SHELL="+p.path) {
		t.Errorf("as the account's own shell: %s, %v, %v", p.path, p.env, err)
	}
}

func TestAProgramThatIsSomebodysShellIsCalledLikeOne(t *testing.T) {
	tests := []struct {
		argv []string
		want string // "" for a call of another kind
	}{
		{[]string{"-producer"}, "record --login-shell"},
		{[]string{"producer", "-c", "ls -l"}, "record --shell-command=ls -l"},
		{[]string{"-producer", "-c", "ls"}, "record --login-shell --shell-command=ls"},
		{[]string{"producer"}, ""},
		{[]string{"producer", "record", "--", "-c"}, ""},
		{[]string{"producer", "--help"}, ""},
		{nil, ""},
	}
	for _, tt := range tests {
		args, ok := ShellArgs(tt.argv)
		if got := strings.Join(args, " "); ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%q: %q, %t", tt.argv, got, ok)
		}
	}
}

func TestACommandThatIsTooLongForAnEventIsCutAndSaysSo(t *testing.T) {
	long := strings.Repeat("é", maxCommand)
	for _, argv := range [][]string{{long}, {"echo", long, "more"}, {"echo", strings.Repeat("x", maxCommand-6), "more"}} {
		got := strings.Join(clip(argv), " ")
		if len(got) > maxCommand+100 || !strings.HasSuffix(got, "bytes in all]") || !strings.HasPrefix(strings.Join(argv, " "), got[:strings.LastIndex(got, "[...")]) {
			t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-30:])
		}
	}
	if got := clip([]string{"echo", "short"}); !slices.Equal(got, []string{"echo", "short"}) {
		t.Errorf("%q", got)
	}
}

func TestSizesAreReadStrictly(t *testing.T) {
	var s Size
	if err := s.UnmarshalText([]byte("132x50")); err != nil || s != (Size{132, 50}) {
		t.Errorf("%v, %v", s, err)
	}
	for _, text := range []string{"", "80", "80x", "x24", "80x24x", "80x24 ", "0x24", "80x-1", "80x65536", "a80x24"} {
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %v", text, s)
		}
	}
}

func TestErrorsBeforeTheCommandHaveAStatusOfTheirOwn(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errors.New("anything"), ExitBus},
		{bus.ErrPermission, ExitPermission},
		{bus.ErrNotInstalled, ExitConfig},
		{bus.ErrConflict, ExitConfig},
	} {
		var exit *ExitError
		if err := beginError(tt.err); !errors.As(err, &exit) || exit.Code != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

func TestTheHostsNameMakesTheNodes(t *testing.T) {
	if err := bus.ValidName(nodeName()); err != nil {
		t.Error(err)
	}
}
