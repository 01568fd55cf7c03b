package compose

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

const operations = "../../docs/operations.md"

// producerAlerts are those on processes that are no part of a stack.
func producerAlerts(t *testing.T) []alert { return alertsIn(t, "producers.yaml", 2) }

func TestEachAlertSaysWhatToDoAndTheGuideHasNoOther(t *testing.T) {
	b, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	guide := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (Tapedeck[A-Za-z]+)$`).FindAllStringSubmatch(string(b), -1) {
		guide[m[1]] = true
	}
	for _, a := range append(alerts(t), producerAlerts(t)...) {
		if !guide[a.Alert] {
			t.Errorf("docs/operations.md has no section %s", a.Alert)
		}
		delete(guide, a.Alert)
		anchor := "#" + strings.ToLower(a.Alert)
		if url := a.Annotations["runbook_url"]; !strings.HasSuffix(url, "/docs/operations.md"+anchor) {
			t.Errorf("%s sends people to %q", a.Alert, url)
		}
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s is of severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s says nothing", a.Alert)
		}
	}
	for name := range guide {
		t.Errorf("docs/operations.md explains %s, which is no alert", name)
	}
}

func TestEachAlertIsTried(t *testing.T) {
	b, err := os.ReadFile(observability + "/prometheus/tests/tapedeck.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(alerts(t), producerAlerts(t)...) {
		if !strings.Contains(string(b), `alertname="`+a.Alert+`"`) {
			t.Errorf("no test of the rules expects %s", a.Alert)
		}
	}
}

func TestWhatAlertsOnProducersAskForIsThereInOne(t *testing.T) {
	asked := map[string]string{}
	for _, a := range producerAlerts(t) {
		asked["alert "+a.Alert] = a.Expr
	}
	m := metrics{}
	m.scrape(t, produce(t))
	for _, l := range m.lacks(asked) {
		t.Error(l)
	}
}

// produce has a producer with a spool record a session, and returns where its metrics are.
func produce(t *testing.T) (addr string) {
	t.Helper()
	tel, err := telemetry.Start(t.Context(), "producer", telemetry.Options{MetricsAddr: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tel.Stop)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{
		Partitions: 1, EventsMaxBytes: 1 << 20, UploadsMaxBytes: 1 << 20, AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := spool.OpenDir(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "n1", Policy: recorder.PolicySpool, Spool: dir, Meter: tel.Meter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	if _, err := rec.Start(t.Context(), recorder.Spec{User: "joe", Width: 80, Height: 24}); err != nil {
		t.Fatal(err)
	}
	return tel.Addr()
}

// Grafana takes a dashboard that is wrong without a word and shows nothing.
func TestDashboardsAreAsGrafanaWantsThem(t *testing.T) {
	uids := map[string]string{}
	for file, d := range dashboards(t) {
		if d.UID == "" || d.Title == "" || uids[d.UID] != "" {
			t.Errorf("%s: uid %q, title %q; the uid is of %q too", file, d.UID, d.Title, uids[d.UID])
		}
		uids[d.UID] = file
		if l := d.Templating.List; len(l) != 1 || l[0].Name != "datasource" || l[0].Type != "datasource" || l[0].Query != "prometheus" {
			t.Errorf("%s does not let people choose their Prometheus: %+v", file, l)
		}
		taken := map[[2]int]string{}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q is there twice or has no title", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: panels %q and %q lie over each other, or beyond the edge", file, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s: panel %q asks for nothing", file, p.Title)
			}
			for _, target := range p.Targets {
				if want := (source{"prometheus", "${datasource}"}); target.Datasource != want || p.Datasource != want || target.RefID == "" {
					t.Errorf("%s: panel %q asks %+v", file, p.Title, target.Datasource)
				}
			}
		}
	}
}

func TestGrafanaFindsWhatComposeMounts(t *testing.T) {
	read := func(file string, into any) {
		t.Helper()
		b, err := os.ReadFile(observability + "/grafana/provisioning/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	p := load(t)
	var sources struct {
		Datasources []struct{ Name, UID, Type, URL string }
	}
	read("datasources/tapedeck.yaml", &sources)
	for _, s := range sources.Datasources {
		variable := strings.Trim(s.URL, "${}")
		url := p.Services["grafana"].Environment[variable]
		if url == nil {
			t.Fatalf("%s is at $%s, which Compose does not set", s.Name, variable)
		}
		host, _, _ := strings.Cut(strings.TrimPrefix(*url, "http://"), ":")
		if _, there := p.Services[host]; !there {
			t.Errorf("%s is at %s, which is no service", s.Name, *url)
		}
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	read("dashboards/tapedeck.yaml", &providers)
	mounted := map[string]string{}
	for _, v := range p.Services["grafana"].Volumes {
		mounted[v.Target] = v.Source
	}
	if len(sources.Datasources) != 2 || len(providers.Providers) != 1 {
		t.Fatalf("%d data sources, %d providers", len(sources.Datasources), len(providers.Providers))
	}
	if path := providers.Providers[0].Options.Path; !strings.HasSuffix(mounted[path], "observability/grafana/dashboards") {
		t.Errorf("dashboards are looked for in %s, where %q is mounted", path, mounted[path])
	}
}

// Prometheus asks services by the names that Compose gives them.
func TestPrometheusAsksServicesThatAnswer(t *testing.T) {
	b, err := os.ReadFile(observability + "/prometheus/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Scrape []struct {
			Job string `yaml:"job_name"`
			DNS []struct {
				Names []string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, job := range file.Scrape {
		for _, d := range job.DNS {
			if len(d.Names) != 1 || d.Names[0] != job.Job || d.Port != 9464 {
				t.Errorf("job %s asks %v at port %d", job.Job, d.Names, d.Port)
			}
			asked[d.Names[0]] = true
		}
	}
	for name, s := range load(t).Services {
		addr := s.Environment["TAPEDECK_METRICS_ADDR"]
		if (addr != nil) != asked[name] || addr != nil && *addr != "0.0.0.0:9464" {
			t.Errorf("%s answers for its metrics: %t; it is asked: %t", name, addr != nil, asked[name])
		}
	}
}
