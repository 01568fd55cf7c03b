package webtest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tapedeck-io/tapedeck/internal/importer"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// What all tests share: starting an installation and a browser takes longer than
// most of them.
var (
	info        stack.Info // of the installation
	browser     context.Context
	screenshots string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tapedeck-webtest-")
	if err != nil {
		return fail("make a directory", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	screenshots = os.Getenv("TAPEDECK_SCREENSHOTS")
	if screenshots == "" {
		screenshots = filepath.Join("..", "..", "bin", "screenshots")
	}
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		return fail("make the directory of the pictures", err)
	}
	for _, program := range []string{"chromium", "tmux"} {
		if _, err := exec.LookPath(program); err != nil {
			return fail("look for "+program+" (scripts/install-test-deps.sh installs it)", err)
		}
	}
	stop, err := startStack(filepath.Join(dir, "installation"))
	if err != nil {
		return fail("start an installation", err)
	}
	defer stop()
	quit, err := startBrowser(filepath.Join(dir, "profile"))
	if err != nil {
		return fail("start Chromium", err)
	}
	defer quit()
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "webtest: %s: %v\n", what, err)
	return 1
}

func startStack(dir string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan stack.Info, 1), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := stack.Config{Dir: dir, NoSync: true, Log: log}
	go func() { ended <- stack.Run(ctx, cfg, func(i stack.Info) { ready <- i }) }()
	select {
	case info = <-ready:
	case err := <-ended:
		cancel()
		return nil, err
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			fail("stop the installation", err)
		}
	}, nil
}

func startBrowser(profile string) (quit func(), err error) {
	flags := []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(profile),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, flag := range flags {
		opts = append(opts, chromedp.Flag(flag, true))
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	var cancel context.CancelFunc
	browser, cancel = chromedp.NewContext(alloc)
	// The first tab logs in; the cookie is the browser's from then on.
	if err := chromedp.Do(browser, chromedp.Navigate(info.Web.Link), chromedp.WaitVisible("main.list")); err != nil {
		cancel()
		cancelAlloc()
		return nil, err
	}
	return func() { cancel(); cancelAlloc() }, nil
}

// address is where a path of the page is.
func address(path string) string { return strings.TrimSuffix(info.Web.URL, "/") + path }

func player(sid, query string) string { return address("/s/" + url.PathEscape(sid) + query) }

func connect(ctx context.Context) (*bus.Conn, bus.Layout, error) {
	conn, err := bus.Connect(ctx, info.NATS, nil)
	return conn, info.Layout, err
}

// newRecorder gives a recorder of a node of the test's own.
func newRecorder(t *testing.T) *recorder.Recorder {
	t.Helper()
	conn, layout, err := connect(t.Context())
	must(t, err)
	t.Cleanup(conn.Close)
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "gw-1", Cluster: "test"})
	must(t, err)
	return rec
}

// importFile imports a file as a session, once for all tests that want it, and
// returns when its recording is finished and indexed.
func importFile(t *testing.T, sid, path string, more ...func(*importer.Command)) string {
	t.Helper()
	if _, done := imported.LoadOrStore(sid, true); !done {
		cmd := importer.Command{Files: []string{path}, Format: "auto", Session: sid, Node: "gw-1", Cluster: "test",
			User: "alice", Login: "root", Host: "web-7", EndTimeout: time.Minute}
		for _, set := range more {
			set(&cmd)
		}
		var stderr bytes.Buffer
		if err := cmd.Run(t.Context(), importer.Deps{Connect: connect, Stdin: strings.NewReader(""), Stdout: &stderr, Stderr: &stderr}); err != nil {
			t.Fatalf("import %s: %v\n%s", path, err, &stderr)
		}
	}
	awaitFinished(t, sid)
	return sid
}

var imported sync.Map

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok, which says what it saw when it is not.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	var saw string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(25 * time.Millisecond) {
		var done bool
		if done, saw = ok(); done {
			return
		}
	}
	t.Fatalf("%s: not after 30 s; last: %s", what, saw)
}
