package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/site"
)

func TestMain(m *testing.M) {
	if site.IsService() { // this test binary is also its own services
		os.Exit(site.Serve(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// quick is a load that takes two seconds and has every kind of session.
var quick = []string{"--preset", "small", "--duration", "2s", "--sessions", "12", "--follow", "3", "--end-over", "300ms", "--no-sync", "--wait", "60s"}

func loadtest(t *testing.T, c *command, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = runCommand(t.Context(), c, args, &out, &errs)
	t.Logf("exit status %d\n%s%s", status, &out, &errs)
	return status, out.String(), errs.String()
}

func TestEverythingPublishedIsReadBack(t *testing.T) {
	dir := t.TempDir()
	j, h := filepath.Join(dir, "a.json"), filepath.Join(dir, "a.html")
	if status, _, _ := loadtest(t, &command{}, append(quick, "--json", j, "--html", h)...); status != exitPassed {
		t.Fatal("the load test failed")
	}
	r, err := report.Read(j)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Check
	if c.Sessions != r.Publish.Sessions || c.Events != r.Publish.Events || c.Events < 300 || r.Ack.Count != c.Events || r.Finish.Count != c.Sessions {
		t.Errorf("%d of %d sessions and %d of %d events read back, %d acknowledgements and %d ends measured",
			c.Sessions, r.Publish.Sessions, c.Events, r.Publish.Events, r.Ack.Count, r.Finish.Count)
	}
	if r.Follow.Count == 0 || r.S3.Requests < 3*c.Sessions || c.Padding != 0 || len(r.Services) != 5 || len(r.Series) < 10 {
		t.Errorf("followed %d, requests %d, padding %d, services %d, samples %d", r.Follow.Count, r.S3.Requests, c.Padding, len(r.Services), len(r.Series))
	}
	selfContained(t, h)
}

// selfContained checks that a page is well-formed as far as its drawings go and asks
// for nothing.
func selfContained(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, s := range []string{"http:", "https:", "src=", "href=", "@import", "url(", "<script"} {
		if strings.Contains(page, s) {
			t.Errorf("the page has %s", s)
		}
	}
	svgs := 0
	for _, rest := range strings.Split(page, "<svg")[1:] {
		d := xml.NewDecoder(strings.NewReader("<svg" + rest[:strings.Index(rest, "</svg>")] + "</svg>"))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		svgs++
	}
	if svgs != 8 || strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Errorf("%d drawings", svgs)
	}
}

func TestOneEventThatWasNotPublishedIsSeen(t *testing.T) {
	drop := func(session uint64, index int64) bool { return session == 1 && index == 2 }
	status, out, _ := loadtest(t, &command{drop: drop}, quick...)
	if status != exitFailed || !strings.Contains(out, "events 2 to 2 are lost") || !strings.Contains(out, "1 events lost") {
		t.Errorf("exit status %d", status)
	}
}

func TestComparisonFailsPastTheThreshold(t *testing.T) {
	dir := t.TempDir()
	old := &report.Report{Version: report.Version}
	old.Publish.PerSecond, old.Ack.P99 = 1e9, 1e-3
	path := filepath.Join(dir, "old.json")
	if err := old.Write(path); err != nil {
		t.Fatal(err)
	}
	args := []string{"--sessions", "2", "--mix", "uniform", "--rate", "100", "--events", "50", "--no-sync", "--compare", path}
	status, out, _ := loadtest(t, &command{}, append(args, "--threshold", "20")...)
	if status != exitFailed || !strings.Contains(out, "WORSE") || !strings.Contains(out, "more than 20 % worse") {
		t.Errorf("exit status %d", status)
	}
	old.Publish.PerSecond, old.Ack.P99 = 1e-3, 1e9
	if err := old.Write(path); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := loadtest(t, &command{}, args...); status != exitPassed {
		t.Errorf("exit status %d though all is better", status)
	}
}

func TestHowCostGrowsIsToldAndDrawn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scale.svg")
	status, out, _ := loadtest(t, &command{}, "--scale", "2,6", "--mix", "idle=1", "--duration", "1s", "--ramp", "100ms", "--no-sync", "--end", "1", "--svg", path)
	if status != exitPassed || !strings.Contains(out, "a session more") {
		t.Errorf("exit status %d", status)
	}
	drawing, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(drawing, new(struct{})); err != nil || strings.Contains(string(drawing), "NaN") || strings.Count(string(drawing), "<svg") != 5 {
		t.Errorf("%v: %.300s", err, drawing)
	}
}

func TestMisuseIsToldBeforeAnythingStarts(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"a host that others use", []string{"--nats-url", "nats://bus.example.org:4222", "--s3-bucket", "b", "--s3-endpoint", "http://127.0.0.1:9000"}, "--allow-host"},
		{"a store that others use", []string{"--nats-url", "nats://127.0.0.1:4333", "--s3-bucket", "b"}, `"amazonaws.com" is not this machine`},
		{"another host is allowed", []string{"--nats-url", "nats://bus.example.org:4222", "--allow-host", "bus.example", "--s3-bucket", "b", "--s3-endpoint", "http://localhost:1"}, "bus.example.org"},
		{"a bus without a store", []string{"--nats-url", "nats://127.0.0.1:4333"}, "where are the recordings"},
		{"no such preset", []string{"--preset", "huge"}, "idle-100k"},
		{"no such kind", []string{"--mix", "golf=1"}, "typing"},
		{"several things", []string{"--rate", "fast", "--sample", "2"}, "--sample 2"},
		{"sessions that do not grow", []string{"--scale", "10,10"}, "growing"},
		{"growth of an installation that runs", []string{"--scale", "1,2", "--nats-url", "nats://127.0.0.1:4333", "--s3-bucket", "b", "--s3-endpoint", "http://localhost:1"}, "installation of its own"},
		{"a drawing of one run", []string{"--svg", "a.svg"}, "--scale"},
		{"no report to compare with", []string{"--compare", "nowhere.json"}, "nowhere.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, _, errs := loadtest(t, &command{}, tt.args...); status != exitUsage || !strings.Contains(errs, tt.want) {
				t.Errorf("exit status %d", status)
			}
		})
	}
}
