package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
)

// A shaky site has a bus that can be stopped and started again.
type shaky struct {
	*site
	cfg   embed.NATSConfig
	spool string
}

func newShaky(t *testing.T) *shaky {
	t.Helper()
	s := &shaky{cfg: embed.NATSConfig{Dir: t.TempDir(), MaxStore: 1 << 30}}
	srv, err := embed.StartNATS(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Port = srv.Port()
	s.site = siteAt(t, srv.URL())
	s.srv = srv
	t.Cleanup(func() { s.srv.Shutdown() })
	s.spool = filepath.Join(s.dir, "spool")
	s.env = append(s.env, "TAPEDECK_SPOOL_DIR="+s.spool, "TAPEDECK_BUS_PATIENCE=100ms", "TAPEDECK_RECORD_OUTPUT=true")
	return s
}

func (s *shaky) up(t *testing.T) {
	t.Helper()
	var err error
	if s.srv, err = embed.StartNATS(s.cfg); err != nil {
		t.Fatal(err)
	}
}

// output runs the producer to its end.
func (s *shaky) output(t *testing.T, wantStatus int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := s.command(t, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != wantStatus {
		t.Fatalf("producer %v ended with %s, want %d\n%s%s", args, status(cmd, err), wantStatus, &out, &errOut)
	}
	return out.String(), errOut.String()
}

// spooled is what spool ls says, while some of it may just be written.
func (s *shaky) spooled(t *testing.T) (states []string, events int) {
	t.Helper()
	out, _ := s.output(t, 0, "spool", "ls", "--json")
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var line struct {
			Events int
			State  string
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		states, events = append(states, line.State), events+line.Events
	}
	return states, events
}

func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not after 30 s: %s", what)
}

func TestWhatWasSpooledIsSentAfterTheProducerWasKilled(t *testing.T) {
	s := newShaky(t)
	cmd := s.command(t, "record", "--on-bus-failure", "spool", "--pty", "never", "--session-id", "killed", "--", "sh", "-c", "echo one; read x; echo two; exec sleep 60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	soon(t, "the bus has the first line", func() bool { return string(s.tape(t, "killed").text) == "one\n" })
	s.srv.Shutdown()
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	soon(t, "the second line is spooled", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.spool, "host.killed.spool"))
		return bytes.Contains(b, []byte("two"))
	})
	if states, _ := s.spooled(t); states[0] != "its producer runs" {
		t.Errorf("the session's state: %v", states)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if states, _ := s.spooled(t); states[0] != "its producer is gone, not sent" {
		t.Errorf("the session's state: %v", states)
	}
	if out, _ := s.output(t, 0, "spool", "ls"); !strings.Contains(out, "killed") || !strings.Contains(out, "1 session in "+s.spool) {
		t.Errorf("spool ls: %s", out)
	}
	if _, errOut := s.output(t, 1, "spool", "send", "--connect-timeout", "300ms"); !strings.Contains(errOut, "connect to NATS") {
		t.Errorf("spool send without a bus: %s", errOut)
	}
	s.up(t)
	if out, _ := s.output(t, 0, "spool", "send"); !strings.HasPrefix(out, "sent session killed (") {
		t.Errorf("spool send: %q", out)
	}
	if tp := s.tape(t, "killed"); string(tp.text) != "one\ntwo\n" || tp.ended {
		t.Errorf("the bus has %q, %q, ended %t", tp.types, tp.text, tp.ended)
	}
	if out, _ := s.output(t, 0, "spool", "send"); out != "" {
		t.Errorf("spool send once more: %q", out)
	}
	if out, _ := s.output(t, 0, "spool", "ls"); !strings.HasPrefix(out, "0 sessions") {
		t.Errorf("spool ls: %s", out)
	}
}

func TestASessionWithoutTheBusIsSentByTheNextOne(t *testing.T) {
	s := newShaky(t)
	s.srv.Shutdown()
	args := []string{"record", "--on-bus-failure", "spool", "--pty", "never"}
	_, errOut := s.output(t, 3, append(args, "--session-id", "first", "--", "sh", "-c", "echo alone; exit 3")...)
	if !strings.Contains(errOut, "the recording waits in "+s.spool) {
		t.Errorf("it says %q", errOut)
	}
	if states, n := s.spooled(t); len(states) != 1 || states[0] != "ended, not sent" || n < 3 {
		t.Fatalf("%d events, %v", n, states)
	}
	s.up(t)
	_, errOut = s.output(t, 0, append(args, "--session-id", "second", "--", "sh", "-c", "echo together; while [ -e "+s.spool+"/*first* ]; do sleep 0.05; done")...)
	if errOut != "" {
		t.Errorf("it says %q", errOut)
	}
	for sid, text := range map[string]string{"first": "alone\n", "second": "together\n"} {
		if tp := s.tape(t, sid); string(tp.text) != text || !tp.ended {
			t.Errorf("the bus has of %s: %q, %q, ended %t", sid, tp.types, tp.text, tp.ended)
		}
	}
	if states, _ := s.spooled(t); len(states) != 0 {
		t.Errorf("still spooled: %v", states)
	}
}

func TestFailHangsTheCommandUp(t *testing.T) {
	s := newShaky(t)
	cmd := s.command(t, "record", "--on-bus-failure", "fail", "--pty", "never", "--session-id", "fails", "--", "sh", "-c", "echo one; while sleep 0.05; do echo more; done")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	soon(t, "the bus has the first line", func() bool { return strings.HasPrefix(string(s.tape(t, "fails").text), "one\n") })
	s.srv.Shutdown()
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != ptyrec.ExitRecording || !strings.Contains(errOut.String(), "bus takes no events within 100ms") {
		t.Errorf("it ended with %s and said %q", status(cmd, err), errOut.String())
	}
}

func TestASpoolThatCannotBeIsToldBeforeTheCommandRuns(t *testing.T) {
	s := newShaky(t)
	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		status int
		says   string
		args   []string
	}{
		{ptyrec.ExitConfig, "name a directory with --spool-dir", []string{"--on-bus-failure", "spool", "--spool-dir", file}},
		{ptyrec.ExitConfig, "a size of -1 bytes", []string{"--on-bus-failure", "spool", "--spool-max-bytes=-1"}},
		{ptyrec.ExitUsage, "block", []string{"--on-bus-failure", "drop"}},
	}
	for _, tt := range tests {
		args := append(append([]string{"record"}, tt.args...), "--", "touch", filepath.Join(s.dir, "ran"))
		if _, errOut := s.output(t, tt.status, args...); !strings.Contains(errOut, tt.says) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%v says %q", tt.args, errOut)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "ran")); err == nil {
		t.Error("the command ran")
	}
}
