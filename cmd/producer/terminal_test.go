package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/term"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

func controlling() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true, Setctty: true} }

// colourful prints UTF-8, colours, control sequences, bytes that are no UTF-8,
// and then a megabyte.
const colourful = `printf 'caf\303\251 \342\202\254 \360\237\230\200\n\033[1;31mred\033[0m\033[2J\033[H\377\376'
i=0; while [ $i -lt 16 ]; do head -c 49152 /dev/urandom | base64 -w 76; i=$((i+1)); done; printf '\342\202'; exit 3`

func TestWhatIsShownIsWhatIsRecorded(t *testing.T) {
	t.Parallel()
	t.Run("on a terminal", func(t *testing.T) {
		t.Parallel()
		site := newSite(t)
		p := sit(t, site.command(t, "record", "--", "bash", "-c", colourful), 100, 30)
		if got := p.leaves(); got != "exit status 3" {
			t.Errorf("%s: %q", got, p.screen())
		}
		checkShown(t, site.only(t), p.screen(), "100:30")
	})
	t.Run("into a pipe", func(t *testing.T) {
		t.Parallel()
		site := newSite(t)
		cmd := site.command(t, "record", "--pty=always", "--size=90x20", "--", "bash", "-c", colourful)
		out, err := cmd.Output()
		if got := status(cmd, err); got != "exit status 3" {
			t.Error(got)
		}
		checkShown(t, site.only(t), string(out), "90:20")
	})
}

func checkShown(t *testing.T, tp *tape, shown, size string) {
	t.Helper()
	if len(shown) < 1<<20 || !strings.Contains(shown, "café € 😀\r\n\x1b[1;31mred") {
		t.Fatalf("the terminal showed %d bytes: %.80q", len(shown), shown)
	}
	if string(tp.text) != shown {
		t.Errorf("recorded are %d bytes, and not the %d that were shown", len(tp.text), len(shown))
	}
	if tp.types != "session.start print session.end" {
		t.Errorf("events: %s", tp.types)
	}
	start, end := tp.events[0].(*events.SessionStart), tp.events[len(tp.events)-1].(*events.SessionEnd)
	if start.TerminalSize != size || start.User.User != "joe" || start.User.Login != "root" || start.InitialCommand[0] != "bash" || !end.Interactive {
		t.Errorf("start %v, end %v", start, end)
	}
}

func TestResizesReachTheCommandAndTheRecording(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	p := sit(t, site.command(t, "record", "--", "bash", "-c", `trap 'echo told' WINCH; while ! [ -e enough ]; do stty size; sleep 0.02; done`), 80, 24)
	p.sees("24 80")
	p.resize(132, 50)
	p.sees("told")
	p.sees("50 132")
	p.resize(40, 10)
	p.sees("10 40")
	if err := os.WriteFile(filepath.Join(site.dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.leaves(); got != "exit status 0" {
		t.Error(got)
	}
	var sizes []string
	for _, e := range site.only(t).events {
		if e, ok := e.(*events.Resize); ok {
			sizes = append(sizes, e.TerminalSize)
		}
	}
	if strings.Join(sizes, " ") != "132:50 40:10" {
		t.Errorf("recorded resizes: %v", sizes)
	}
}

func TestKeysReachTheCommand(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	p := sit(t, site.command(t, "record", "--", "bash", "--norc", "-i"), 80, 24)
	p.sees("bash")
	p.types("echo one$((1+1))three\r")
	p.sees("one2three")
	p.types("sleep 100\r")
	p.sees("sleep 100")
	time.Sleep(100 * time.Millisecond)
	p.types("\x03") // ends sleep, not the shell and not the producer
	p.types("echo interrupted=$?\r")
	p.sees("interrupted=130")
	p.types("\x04") // end of input
	if got := p.leaves(); got != "exit status 0" {
		t.Errorf("%s: %q", got, p.screen())
	}
	if tp := site.only(t); string(tp.text) != p.screen() {
		t.Errorf("recorded %q, shown %q", tp.text, p.screen())
	}
}

func TestInputThatEndsEndsTheInputOfTheCommand(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	for _, input := range []string{"", "line\n", "no line feed"} {
		cmd := site.command(t, "record", "--pty=always", "--", "bash", "-c", "stty -echo; echo ready; cat; echo over")
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		if got := string(out); status(cmd, err) != "exit status 0" || !strings.Contains(got, strings.ReplaceAll(input, "\n", "\r\n")) || !strings.HasSuffix(got, "over\r\n") {
			t.Errorf("input %q: %s, %q", input, status(cmd, err), got)
		}
	}
}

func TestTheTerminalIsPutBackOnEveryWayOut(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script string
		do     func(t *testing.T, s *site, p *person)
		want   string
	}{
		{"the command ends", "echo ready", nil, "exit status 0"},
		{"the command is killed", "echo ready; kill -9 $$", nil, "exit status 137"},
		{"the command cannot be found", "", nil, "exit status 127"},
		{"a SIGTERM that the command takes", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done",
			func(_ *testing.T, _ *site, p *person) { _ = p.cmd.Process.Signal(syscall.SIGTERM) }, "exit status 9"},
		{"a SIGTERM that the command ignores", "trap '' TERM; echo ready; while :; do sleep 0.02; done",
			func(_ *testing.T, _ *site, p *person) { _ = p.cmd.Process.Signal(syscall.SIGTERM) }, "exit status 129"},
		{"a SIGHUP", "echo ready; sleep 100",
			func(_ *testing.T, _ *site, p *person) { _ = p.cmd.Process.Signal(syscall.SIGHUP) }, "exit status 129"},
		{"the recording breaks", "echo ready; sleep 100", takeAway, "exit status 74"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t)
			args := []string{"record", "--session-id=mine", "--", "bash", "-c", tt.script}
			if tt.script == "" {
				args = []string{"record", "--", "no-such-command"}
			}
			cmd := site.command(t, args...)
			p := sit(t, cmd, 80, 24)
			before, err := term.GetState(int(p.inner.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if tt.do != nil {
				p.sees("ready")
				if now, err := term.GetState(int(p.inner.Fd())); err != nil || *now == *before {
					t.Errorf("the terminal is not raw: %v", err)
				}
				tt.do(t, site, p)
			}
			err = cmd.Wait()
			if got := status(cmd, err); got != tt.want {
				t.Errorf("%s, want %s: %q", got, tt.want, p.screen())
			}
			after, err := term.GetState(int(p.inner.Fd()))
			if err != nil || *after != *before {
				t.Errorf("the terminal is not as it was: %v", err)
			}
			if tt.want != "exit status 127" && tt.want != "exit status 74" && !site.only(t).ended {
				t.Error("the session is not over")
			}
		})
	}
}

// takeAway has another process take the session over.
func takeAway(t *testing.T, s *site, p *person) {
	r, err := recorder.New(s.conn, s.layout, recorder.Options{Node: "host"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.Resume(t.Context(), recorder.Spec{ID: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	p.types("x") // its echo is output
	p.sees("another writer")
	if err := other.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestATerminalThatGoesAwayHangsTheCommandUp(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	p := sit(t, site.command(t, "record", "--", "bash", "-c", "trap 'echo hung up; exit 5' HUP; echo ready; while :; do sleep 0.02; done"), 80, 24)
	p.sees("ready")
	_, _ = p.outer.Close(), p.inner.Close()
	if got := status(p.cmd, p.cmd.Wait()); got != "exit status 5" {
		t.Error(got)
	}
	if tp := site.only(t); !strings.HasSuffix(string(tp.text), "hung up\r\n") {
		t.Errorf("recorded %q", tp.text)
	}
}

func TestWhatTheCommandLeavesBehindDoesNotHoldUpItsEnd(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	began := time.Now()
	cmd := site.command(t, "record", "--pty=always", "--", "bash", "-c", "(trap '' HUP; exec sleep 30) & echo done")
	out, err := cmd.Output()
	if status(cmd, err) != "exit status 0" || string(out) != "done\r\n" || time.Since(began) > 15*time.Second {
		t.Errorf("%s after %s: %q", status(cmd, err), time.Since(began), out)
	}
	site.only(t)
}

func TestOutputWaitsForTheBusAndSaysSo(t *testing.T) {
	t.Parallel()
	cfg := embed.NATSConfig{Dir: t.TempDir(), MaxStore: 8 << 30}
	srv, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = srv.Port()
	site := siteAt(t, srv.URL())
	p := sit(t, site.command(t, "record", "--", "bash", "-c", "echo ready; read x; head -c 600000 /dev/zero | base64 -w 76; echo; echo finished"), 80, 24)
	p.sees("ready")
	srv.Shutdown()
	p.types("\r")
	p.sees("tapedeck: the event bus takes no events")
	if strings.Contains(p.screen(), "finished") {
		t.Error("what the bus had no room for was shown")
	}
	if srv, err = embed.StartNATS(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	p.sees("tapedeck: the event bus is back")
	if got := p.leaves(); got != "exit status 0" {
		t.Error(got)
	}
	tp := site.only(t)
	if n := strings.Count(string(tp.text), "A"); n < 800_000-4 || !strings.HasSuffix(string(tp.text), "finished\r\n") {
		t.Errorf("recorded are %d bytes with %d of the %d", len(tp.text), n, 800_000)
	}
}

func TestABusThatStaysAwayAtTheEndIsSaid(t *testing.T) {
	t.Parallel()
	srv, err := embed.StartNATS(embed.NATSConfig{Dir: t.TempDir(), MaxStore: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	site := siteAt(t, srv.URL())
	p := sit(t, site.command(t, "record", "--end-timeout=3s", "--", "bash", "-c", "echo ready; read x"), 80, 24)
	p.sees("ready")
	srv.Shutdown()
	p.types("\r")
	p.sees("waiting up to 3s")
	if got := p.leaves(); got != "exit status 74" || !strings.Contains(p.screen(), "the recording is not whole") {
		t.Errorf("%s: %q", got, p.screen())
	}
}

func TestALoginShellIsRecorded(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	if err := os.WriteFile(filepath.Join(site.dir, ".bash_profile"), []byte("echo profile was read\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := site.command(t)
	cmd.Args = []string{"-producer"}
	p := sit(t, cmd, 80, 24)
	p.sees("profile was read")
	p.types("echo $0; exit 4\r")
	if got := p.leaves(); got != "exit status 4" || !strings.Contains(p.screen(), "-bash\r\n") {
		t.Errorf("%s: %q", got, p.screen())
	}
	if tp := site.only(t); string(tp.text) != p.screen() || len(tp.events[0].(*events.SessionStart).InitialCommand) != 0 {
		t.Errorf("recorded %q", tp.text)
	}
}

// The slicer reads what an abandoned session says last; here it is enough that
// nothing ends a session that was cut off.
func TestAProducerThatIsKilledLeavesTheSessionOpen(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	p := sit(t, site.command(t, "record", "--", "bash", "-c", "echo ready; exec sleep 100"), 80, 24)
	p.sees("ready")
	time.Sleep(100 * time.Millisecond)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.leaves()
	if tapes := site.tapes(t); len(tapes) != 1 || tapes[0].ended || string(tapes[0].text) != "ready\r\n" {
		t.Errorf("the bus has %v", tapes)
	}
}
