package telemetry_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	consumer "github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// A family is one metric as /metrics has it.
type family struct {
	name, kind, help string
	labels           []string
}

// scrape reads all families of ours from addr.
func scrape(t *testing.T, addr string) map[string]family {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return parse(t, resp.Body)
}

var label = regexp.MustCompile(`(\w+)="`)

func parse(t *testing.T, r io.Reader) map[string]family {
	t.Helper()
	all := map[string]family{}
	var now family
	for sc := bufio.NewScanner(r); sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "# HELP "):
			name, help, _ := strings.Cut(line[len("# HELP "):], " ")
			now = family{name: name, help: help}
		case strings.HasPrefix(line, "# TYPE "):
			_, now.kind, _ = strings.Cut(line[len("# TYPE "):], " ")
		case strings.HasPrefix(line, now.name):
			for _, m := range label.FindAllStringSubmatch(line, -1) {
				if m[1] != "le" && !slices.Contains(now.labels, m[1]) {
					now.labels = append(now.labels, m[1])
				}
			}
			if strings.HasPrefix(now.name, "tapedeck_") {
				all[now.name] = now
			}
		}
	}
	return all
}

const doc = "../../docs/metrics.md"

var docRow = regexp.MustCompile("^\\| `(tapedeck_\\w+)` \\| (\\w+) \\| ([^|]*) \\| (.*) \\|$")

// documented reads the tables of the document.
func documented(t *testing.T) map[string]family {
	t.Helper()
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]family{}
	for line := range strings.Lines(string(b)) {
		if m := docRow.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			f := family{name: m[1], kind: m[2], help: m[4]}
			if m[3] != "" {
				f.labels = strings.Split(m[3], ", ")
			}
			all[f.name] = f
		}
	}
	return all
}

func (f family) row() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |", f.name, f.kind, strings.Join(f.labels, ", "), f.help)
}

// TestEveryMetricIsDocumentedAndThere runs an installation and a producer, records a
// session, and holds what /metrics has against docs/metrics.md, both ways. With
// TAPEDECK_UPDATE_DOCS set it writes the tables of the document anew.
func TestEveryMetricIsDocumentedAndThere(t *testing.T) {
	sinks := consumer.DefaultConfig()
	sinks.Sinks = []consumer.SinkConfig{{Kind: consumer.KindS3, Name: "s3"}}
	sinks.Flush = 50 * time.Millisecond
	info := run(t, stack.Config{Dir: t.TempDir(), MetricsAddr: "127.0.0.1:0", NoSync: true, AccessLog: &sinks})
	tel, err := telemetry.Start(t.Context(), "producer", telemetry.Options{MetricsAddr: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Stop()
	produce(t, info, tel)
	want := documented(t)
	var have map[string]family
	// Counts come a moment after what they count, and gauges once a second.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		have = scrape(t, info.Metrics)
		for name, f := range scrape(t, tel.Addr()) {
			if _, ok := have[name]; !ok {
				have[name] = f
			}
		}
		if len(missing(want, have))+len(missing(last, have)) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if os.Getenv("TAPEDECK_UPDATE_DOCS") != "" {
		update(t, have)
		return
	}
	for _, name := range append(missing(want, have), missing(last, have)...) {
		t.Errorf("documented and not there: %s", name)
	}
	for name, f := range have {
		if w := want[name]; w.row() != f.row() {
			t.Errorf("the document has\n%s\nwant\n%s", w.row(), f.row())
		}
		for _, l := range f.labels {
			if strings.Contains(l, "session") || strings.Contains(l, "node") {
				t.Errorf("%s has label %s: sessions and nodes are no labels", name, l)
			}
		}
	}
}

// last are those that need something to have happened.
var last = map[string]family{
	"tapedeck_slicer_upload_seconds": {}, "tapedeck_slicer_commit_seconds": {}, "tapedeck_slicer_cursor": {},
	"tapedeck_completer_seconds": {}, "tapedeck_accesslog_batch_seconds": {}, "tapedeck_stream_bytes": {},
}

func missing(want, have map[string]family) (names []string) {
	for name := range want {
		if _, ok := have[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// groups are the tables of the document, by prefix, in their order.
var groups = []struct{ prefix, title string }{
	{"tapedeck_check_", "Checks"},
	{"tapedeck_stream_", "Streams"},
	{"tapedeck_nats_", "The bus"},
	{"tapedeck_s3_", "The store"},
	{"tapedeck_slicer_", "Slicer"},
	{"tapedeck_completer_", "Completer"},
	{"tapedeck_accesslog_", "Access log"},
	{"tapedeck_producer_", "Producers"},
	{"tapedeck_access_", "Trackers of access sessions"},
}

// update writes the tables, and leaves what stands before the first.
func update(t *testing.T, have map[string]family) {
	t.Helper()
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(b), "## "+groups[0].title)
	var out strings.Builder
	out.WriteString(head)
	for _, g := range groups {
		var in []family
		for _, f := range have {
			if strings.HasPrefix(f.name, g.prefix) {
				in = append(in, f)
			}
		}
		slices.SortFunc(in, func(a, b family) int { return cmp.Compare(a.name, b.name) })
		fmt.Fprintf(&out, "## %s\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n", g.title)
		for _, f := range in {
			fmt.Fprintln(&out, f.row())
		}
		out.WriteString("\n")
	}
	if err := os.WriteFile(filepath.Clean(doc), []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs an installation until the test is over.
func run(t *testing.T, cfg stack.Config) stack.Info {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan stack.Info, 1), make(chan error, 1)
	go func() { ended <- stack.Run(ctx, cfg, func(i stack.Info) { ready <- i }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	select {
	case i := <-ready:
		return i
	case err := <-ended:
		ended <- nil
		t.Fatalf("stack did not start: %v", err)
		return stack.Info{}
	}
}

// produce records a session and an access session, and leaves one of each open.
func produce(t *testing.T, info stack.Info, tel *telemetry.Telemetry) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), info.NATS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	dir, err := spool.OpenDir(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recorder.New(conn, info.Layout, recorder.Options{Node: "n1", Policy: recorder.PolicySpool, Spool: dir, Meter: tel.Meter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	for _, end := range []bool{true, false} {
		s, err := rec.Start(t.Context(), recorder.Spec{User: "joe", Width: 80, Height: 24})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(s, "hello")
		if end {
			err = s.End(t.Context())
		} else {
			err = s.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	access(t, conn, tel)
}

// access has an access session begin and end, and another go on.
func access(t *testing.T, conn *bus.Conn, tel *telemetry.Telemetry) {
	t.Helper()
	tracker, err := accesslog.New(accesslog.Config{Node: "n1", Meter: tel.Meter}, accesslog.NewPublisher(conn))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("tracker: %v", err)
		}
	})
	tracker.Start(accesslog.Flow{Resource: 7, Dest: "192.0.2.1:22", User: "ada"}).End(accesslog.ReasonClosed)
	tracker.Start(accesslog.Flow{Resource: 7, Dest: "192.0.2.2:22", User: "ada"})
}
