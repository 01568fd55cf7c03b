package service

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A probe is a program that says what it was given and waits, or fails.
type probe struct {
	Reach   `embed:""`
	Process `embed:""`
	Store   bool
	Fail    bool
}

func (p *probe) work(ctx context.Context, in Installation) error {
	if p.Fail {
		return errors.Join(errors.New("one"), errors.New("two"))
	}
	if err := in.Watch(health.Checks{"work": func(context.Context) error { return nil }}); err != nil {
		return err
	}
	in.Log.Info("at work", "partitions", in.Layout.Partitions, "store", in.Store != nil)
	<-ctx.Done()
	return ctx.Err()
}

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("SERVICE_TEST_MAIN") == "" {
		os.Exit(m.Run())
	}
	var p probe
	Main(Program{Name: "probe", About: "Waits.", Flags: &p, Reach: &p.Reach, Process: &p.Process,
		Asks: "everything", AwaitBucket: true, NeedsStore: func() bool { return p.Store }, Work: p.work})
}

func command(t *testing.T, args string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(args)...)
	cmd.Env = append(os.Environ(), "SERVICE_TEST_MAIN=1")
	return cmd
}

func check(t *testing.T, args, says string, status int) {
	t.Helper()
	cmd := command(t, args)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), says) {
		t.Errorf("%s: status %d, want %d; %q is to be in the output:\n%s", args, got, status, says, out)
	}
	if status != 0 && strings.Count(string(out), "\n") != 1 {
		t.Errorf("%s: more than one line:\n%s", args, out)
	}
}

func TestStatusesAndErrorsOnOneLine(t *testing.T) {
	nats := embedtest.NATS(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{nats}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at := "--nats-url=" + nats
	check(t, "--version", "probe ", 0)
	check(t, "--help", "everything", 0)
	check(t, "--nonsense", "probe: unknown flag --nonsense\n", 2)
	check(t, "--s3-bucket=A_B --s3-attempts=77", "; attempts 77", 2)
	check(t, "--nats-url=nats://127.0.0.1:1", "probe: connect to NATS", 1)
	check(t, at, "probe: read the installation: ", 1)
	if _, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 1, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	check(t, at+" --fail", "probe: one; two\n", 1)
	check(t, at+" --fail --health", "", 0)
	check(t, at+" --store", "bucket: none given", 1)
	store := embedtest.S3(t)
	t.Setenv("TAPEDECK_S3_ACCESS_KEY", store.AccessKey)
	t.Setenv("TAPEDECK_S3_SECRET_KEY", store.SecretKey)
	at += " --store --s3-path-style --s3-endpoint=" + store.Endpoint + " --s3-bucket="
	check(t, at+store.Bucket+" --fail --health", "", 0)
	check(t, at+"there-is-none --health", "there-is-none", 1)
	check(t, at+"there-is-none", "there-is-none", 1)
}

func TestItWorksUntilASignal(t *testing.T) {
	nats := embedtest.NATS(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{nats}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 3, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "--nats-url="+nats)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "at work") {
	}
	if !strings.Contains(lines.Text(), "partitions=3 store=false") {
		t.Errorf("it was given %q", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v", err)
	}
}
