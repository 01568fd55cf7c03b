package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

const observability = "../../deploy/observability"

// queries are all expressions of PromQL in deploy/, by where they are.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, a := range alerts(t) {
		all["alert "+a.Alert] = a.Expr
	}
	for file, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all[fmt.Sprintf("%s, %s, %s", file, p.Title, target.RefID)] = target.Expr
			}
		}
	}
	scaler, err := os.ReadFile("../../deploy/kubernetes/components/keda/slicer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all["KEDA"] = regexp.MustCompile(`query: (.*)`).FindStringSubmatch(string(scaler))[1]
	return all
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alerts are those of a stack.
func alerts(t *testing.T) []alert { return alertsIn(t, "tapedeck.yaml", 20) }

// alertsIn reads the alerts of one file, which are so many at least.
func alertsIn(t *testing.T, name string, least int) (all []alert) {
	t.Helper()
	b, err := os.ReadFile(observability + "/prometheus/rules/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < least {
		t.Fatalf("only %d alerts were found in %s", len(all), name)
	}
	return all
}

type source struct{ Type, UID string }

type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Datasource  source
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			RefID, Expr string
			Datasource  source
		}
	}
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	err := fs.WalkDir(os.DirFS(observability+"/grafana/dashboards"), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(observability, "grafana/dashboards", path))
		if err != nil {
			return err
		}
		var d dashboard
		if err := json.Unmarshal(b, &d); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		all[path] = d
		return nil
	})
	if err != nil || len(all) < 2 {
		t.Fatalf("%d dashboards: %v", len(all), err)
	}
	return all
}

// metrics are those of one or more processes, by name.
type metrics map[string]*dto.MetricFamily

// scrape adds what one process tells.
func (m metrics) scrape(t *testing.T, addr string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatalf("read the metrics of %s: %v", addr, err)
	}
	for name, f := range families {
		if have := m[name]; have != nil {
			have.Metric = append(have.Metric, f.Metric...)
		} else {
			m[name] = f
		}
	}
}

// has looks for a metric as queries name it: of a histogram that is one of three.
func (m metrics) has(name string) *dto.MetricFamily {
	if f := m[name]; f != nil {
		return f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && m[base].GetType() == dto.MetricType_HISTOGRAM {
			return m[base]
		}
	}
	return nil
}

// values are those of one label.
func values(f *dto.MetricFamily, label string) map[string]bool {
	all := map[string]bool{}
	for _, s := range f.Metric {
		for _, l := range s.Label {
			if l.GetName() == label {
				all[l.GetValue()] = true
			}
		}
	}
	return all
}

var (
	selector = regexp.MustCompile(`(tapedeck_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"([^"]*)"`)
	grouping = regexp.MustCompile(`by \(([^)]*)\)`)
	// What the scraping adds, and a histogram's own.
	added = []string{"job", "instance", "le"}
)

// check says which names, labels and values of a query the metrics lack.
func (m metrics) check(query string) (wrong []string) {
	labels := map[string]bool{}
	for _, s := range selector.FindAllStringSubmatch(query, -1) {
		f := m.has(s[1])
		if f == nil {
			wrong = append(wrong, "no metric "+s[1])
			continue
		}
		for _, series := range f.Metric {
			for _, l := range series.Label {
				labels[l.GetName()] = true
			}
		}
		for _, want := range matcher.FindAllStringSubmatch(s[2], -1) {
			have := values(f, want[1])
			if slices.Contains(added, want[1]) || len(have) > 0 && want[2] != "=" || have[want[3]] {
				continue
			}
			wrong = append(wrong, fmt.Sprintf("no %s with %s, but %v", s[1], want[0], slices.Sorted(maps.Keys(have))))
		}
	}
	for _, by := range grouping.FindAllStringSubmatch(query, -1) {
		for _, label := range strings.Split(by[1], ", ") {
			if !slices.Contains(added, label) && !labels[label] {
				wrong = append(wrong, "no label "+label)
			}
		}
	}
	return wrong
}

// lacks says what queries would not find.
func (m metrics) lacks(queries map[string]string) (all []string) {
	for where, query := range queries {
		for _, w := range m.check(query) {
			all = append(all, where+": "+w)
		}
	}
	slices.Sort(all)
	return all
}

func TestWhatAlertsAndDashboardsAskForIsThereOnARunningStack(t *testing.T) {
	asked := queries(t)
	access := accesslog.DefaultConfig()
	access.Sinks = []accesslog.SinkConfig{{Kind: accesslog.KindS3, Name: "s3"}}
	access.Flush = 50 * time.Millisecond
	up := make(chan stack.Info, 1)
	cfg := stack.Config{Dir: t.TempDir(), NoSync: true, MetricsAddr: "127.0.0.1:0", AccessLog: &access, Log: logTo(t)}
	run(t, "stack", func(ctx context.Context) error { return stack.Run(ctx, cfg, func(i stack.Info) { up <- i }) })
	var info stack.Info
	select {
	case info = <-up:
	case <-time.After(time.Minute):
		t.Fatal("the stack is not up after a minute")
	}
	use(t, info)

	m := metrics{}
	lacks := []string{"everything"}
	for deadline := time.Now().Add(time.Minute); len(lacks) > 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		m = metrics{}
		m.scrape(t, info.Metrics)
		lacks = m.lacks(asked)
	}
	for _, l := range lacks {
		t.Error(l)
	}
	for _, broken := range []string{"rate(tapedeck_slicer_evnts_total[5m])", `tapedeck_completer_sessions_total{result="finished"}`, "sum by (node) (tapedeck_slicer_sessions)"} {
		if len(m.check(broken)) == 0 {
			t.Errorf("%s is not seen to be wrong", broken)
		}
	}
}

// use records a session and an access session through a stack, so that everything is
// measured once.
func use(t *testing.T, info stack.Info) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), info.NATS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	rec, err := recorder.New(conn, info.Layout, recorder.Options{Node: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := rec.Start(t.Context(), recorder.Spec{ID: uuid.NewString(), User: "joe", Login: "root", Width: 80, Height: 24})
	if err == nil {
		_, err = session.Write([]byte("line\r\n"))
	}
	if err == nil {
		err = session.End(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	publishAccess(t, conn)
}
