package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

func noise(t testing.TB, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWithoutATerminalEveryBytePassesUntouched(t *testing.T) {
	t.Parallel()
	for _, record := range []bool{false, true} {
		site := newSite(t)
		input := noise(t, 5<<20)
		args := []string{"record", "--", "bash", "-c", "cat; echo problem >&2; exit 6"}
		if record {
			args = slices.Insert(args, 1, "--record-output")
		}
		cmd := site.command(t, args...)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
		if got := status(cmd, cmd.Run()); got != "exit status 6" || !bytes.Equal(out.Bytes(), input) || errs.String() != "problem\n" {
			t.Errorf("%s, %d bytes of %d, %q", got, out.Len(), len(input), errs.String())
		}
		tp := site.only(t)
		want, text := "session.start exec session.end", []byte(nil)
		if record {
			want, text = "session.start print exec session.end", input
		}
		// Between standard output and error there is no order.
		if tp.types != want || !bytes.Equal(bytes.Replace(tp.text, []byte("problem\n"), nil, 1), text) || bytes.Contains(tp.text, []byte("problem\n")) != record {
			t.Errorf("with --record-output %t: %s with %d bytes of text", record, tp.types, len(tp.text))
		}
		exec, start := tp.events[len(tp.events)-2].(*events.Exec), tp.events[0].(*events.SessionStart)
		if exec.Command.ExitCode != "6" || exec.Metadata.Code != "T3002E" || !strings.HasPrefix(exec.Command.Command, "bash -c cat;") || start.TerminalSize != "" {
			t.Errorf("exec: %v", exec)
		}
		if end := tp.events[len(tp.events)-1].(*events.SessionEnd); end.Interactive {
			t.Error("the session is interactive")
		}
	}
}

func TestAReaderThatGoesAwayIsNoticedByTheCommand(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"record"}, {"record", "--record-output"}, {"record", "--pty=always"}} {
		site := newSite(t)
		shell := site.command(t)
		shell.Path, shell.Args = "/bin/bash", append([]string{"bash", "-c",
			`"$@" | head -c 3; echo " ${PIPESTATUS[0]}"`, "bash", site.producer}, append(args, "--", "bash", "-c", "for i in {1..40000}; do echo y || exit 1; done")...)
		out, err := shell.Output()
		// On a terminal nobody notices, and the rest is recorded.
		if got := strings.Fields(string(out)); err != nil || len(got) == 0 || (got[len(got)-1] == "0") != (len(args) == 2 && args[1] == "--pty=always") {
			t.Errorf("%v: %q, %v", args, out, err)
		}
		site.only(t)
	}
}

func TestExitStatuses(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	notExecutable := filepath.Join(site.dir, "text")
	if err := os.WriteFile(notExecutable, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrongConfig := filepath.Join(site.dir, "wrong.json")
	if err := os.WriteFile(wrongConfig, []byte(`{"node": "x", "nods": "y", "zzz": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
		says string // on standard error
	}{
		{"good", []string{"--", "true"}, "exit status 0", ""},
		{"the command's own", []string{"--", "bash", "-c", "exit 200"}, "exit status 200", ""},
		{"killed", []string{"--", "bash", "-c", "kill -9 $$"}, "exit status 137", ""},
		{"ended by a signal", []string{"--", "bash", "-c", "kill -TERM $$"}, "exit status 143", ""},
		{"no such command", []string{"--", "no-such-command"}, "exit status 127", "run no-such-command: executable file not found in $PATH"},
		{"no such path", []string{"--", "/no/such"}, "exit status 127", "run /no/such: no such file or directory"},
		{"not executable", []string{"--", notExecutable}, "exit status 126", "permission denied"},
		{"no such flag", []string{"--no-such-flag"}, "exit status 64", "unknown flag --no-such-flag"},
		{"two commands", []string{"-c", "true", "--", "true"}, "exit status 64", "not both"},
		{"no shell", []string{"--shell=/no/such"}, "exit status 127", "/no/such"},
		{"itself as the shell", []string{"--shell=" + site.producer}, "exit status 78", "is this program"},
		{"a name that is none", []string{"--node=a.b", "--", "true"}, "exit status 78", "a.b"},
		{"a session that is over", []string{"--session-id=over", "--", "true"}, "exit status 78", "--session-id"},
		{"no bus", []string{"--nats-url=" + refusing(t), "--connect-timeout=300ms", "--", "touch", "ran"}, "exit status 75", "The command was not run"},
		{"no answer", []string{"--nats-url=192.0.2.1:4222", "--connect-timeout=300ms", "--", "touch", "ran"}, "exit status 75", "The command was not run"},
		{"not installed", []string{"--nats-url=" + embedtest.NATS(t), "--", "touch", "ran"}, "exit status 78", "tapedeck's streams are not on this NATS account"},
		{"settings that are none", []string{"--config=" + wrongConfig, "--", "touch", "ran"}, "exit status 78", "no such setting: nods, zzz"},
		{"settings that are not there", []string{"--config=/no/such", "--", "touch", "ran"}, "exit status 78", "/no/such"},
	}
	if err := site.command(t, "record", "--session-id=over", "--", "true").Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := site.command(t, append([]string{"record"}, tt.args...)...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			began := time.Now()
			if got := status(cmd, cmd.Run()); got != tt.want || !strings.Contains(errs.String(), tt.says) || (tt.says == "") != (errs.Len() == 0) {
				t.Errorf("%s, want %s: %q", got, tt.want, errs.String())
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if n := strings.Count(errs.String(), "\n"); n > 1 {
				t.Errorf("it took %d lines to say: %s", n, errs.String())
			}
		})
	}
	if _, err := os.Stat(filepath.Join(site.dir, "ran")); err == nil {
		t.Error("a command ran without being recorded")
	}
}

func TestSignalsReachACommandWithoutATerminal(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	for name, sig := range map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1} {
		cmd := site.command(t, "record", "--", "bash", "-c", "trap 'echo got "+name+"; exit 8' "+name+"; echo ready; while :; do sleep 0.02; done")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, _ := out.Read(buf)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		m, _ := out.Read(buf[n:])
		if got := status(cmd, cmd.Wait()); got != "exit status 8" || string(buf[:n+m]) != "ready\ngot "+name+"\n" {
			t.Errorf("%s: %s, %q", name, got, buf[:n+m])
		}
	}
}

func TestTheCommandSeesItsSessionAndNotOurSecrets(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	// A server without users takes any; a wrong creds file would not be read.
	site.env = append(site.env, "TAPEDECK_NATS_USER=u", "TAPEDECK_NATS_PASSWORD=hunter2", "SSH_ORIGINAL_COMMAND=nothing")
	out, err := site.command(t, "record", "--session-id=mine", "--", "env").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(string(out), "\n")
	if !slices.Contains(env, "TAPEDECK_SESSION=mine") || strings.Contains(string(out), "hunter2") || strings.Contains(string(out), "SSH_ORIGINAL_COMMAND") {
		t.Errorf("the command's environment:\n%s", out)
	}
}

func TestSettingsComeFromAFileUnlessTheEnvironmentOrAFlagSaysOtherwise(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.env = slices.DeleteFunc(site.env, func(kv string) bool { return strings.HasPrefix(kv, "TAPEDECK_NATS_URL=") })
	file := filepath.Join(site.dir, "producer.json")
	settings := `{"nats-url": "` + site.url + `", "node": "from-file", "cluster": "from-file", "reason": "from-file", "record-output": true}`
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	site.env = append(site.env, "TAPEDECK_PRODUCER_CONFIG="+file, "TAPEDECK_CLUSTER=from-env")
	if out, err := site.command(t, "record", "--reason=from-flag", "--", "echo", "x").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tp := site.only(t)
	start := tp.events[0].(*events.SessionStart)
	if start.Server.ServerId != "host" || start.Metadata.ClusterName != "from-env" || start.Reason != "from-flag" || string(tp.text) != "x\n" {
		t.Errorf("start %v, text %q", start, tp.text)
	}
}

func TestHelpHasTheExitStatuses(t *testing.T) {
	t.Parallel()
	out, err := newSite(t).command(t, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Exit status: that of the command", " 75    the bus", " 127   the command"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in the help:\n%s", want, out)
		}
	}
}

func TestACastIsImported(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	cmd := site.command(t, "import", "-")
	cmd.Stdin = strings.NewReader(`{"version": 2, "width": 80, "height": 24, "timestamp": 1504467315}` + "\n" + `[0.5, "o", "hello\r\n"]` + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if tp := site.only(t); string(tp.text) != "hello\r\n" {
		t.Errorf("the bus has %q", tp.text)
	}
	cmd = site.command(t, "import", "/no/such/file")
	if out, err := cmd.CombinedOutput(); status(cmd, err) != "exit status 1" || !strings.Contains(string(out), "/no/such/file") {
		t.Errorf("%s: %s", status(cmd, err), out)
	}
}
