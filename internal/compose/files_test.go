package compose

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

var allProfiles = []string{"demo", "observability", "tools", "web"}

// load reads files as Compose does: strictly, with everything that make-env.sh makes,
// and with what the process's environment names.
func load(t *testing.T, overlays ...string) *types.Project {
	t.Helper()
	files := []string{filepath.Join(deployDir, "compose.yaml")}
	for _, o := range overlays {
		files = append(files, filepath.Join(deployDir, o))
	}
	env := []string{"S3_ACCESS_KEY=key", "S3_SECRET_KEY=secret", "GRAFANA_ADMIN_PASSWORD=password-of-GRAFANA"}
	for _, name := range []string{"INSTALL", "SLICER", "COMPLETER", "ACCESSLOG", "VIEWER", "WEB", "PRODUCER_DEMO", "SYS", "ROUTE"} {
		env = append(env, "NATS_"+name+"_PASSWORD=password-of-"+name)
	}
	opts, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithEnv(env), cli.WithProfiles(allProfiles))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cli.ProjectFromOptions(t.Context(), opts)
	if err != nil {
		t.Fatalf("%v: %v", overlays, err)
	}
	return p
}

func TestComposeTakesTheFilesInAllCombinations(t *testing.T) {
	for _, overlays := range [][]string{
		{}, {"compose.single.yaml"}, {"compose.tls.yaml"}, {"compose.offline.yaml"},
		{"compose.single.yaml", "compose.tls.yaml", "compose.offline.yaml"},
	} {
		p := load(t, overlays...)
		nodes, replicas, conf := 3, "3", "/etc/nats/conf/cluster.conf"
		if strings.Contains(strings.Join(overlays, " "), "single") {
			nodes, replicas, conf = 1, "1", "/etc/nats/conf/single.conf"
		}
		servers := 0
		for name := range p.Services {
			if strings.HasPrefix(name, "nats-") {
				servers++
			}
		}
		if servers != nodes || *p.Services["install"].Environment["TAPEDECK_REPLICAS"] != replicas || p.Services["nats-1"].Command[1] != conf {
			t.Errorf("%v: %d servers, replicas %s, %v", overlays, servers, *p.Services["install"].Environment["TAPEDECK_REPLICAS"], p.Services["nats-1"].Command)
		}
		for name, s := range p.Services {
			if s.Image == "" || !s.ReadOnly || len(s.CapDrop) != 1 || len(s.SecurityOpt) != 1 {
				t.Errorf("%v: %s is not locked down: image %q, read-only %t, cap_drop %v, %v", overlays, name, s.Image, s.ReadOnly, s.CapDrop, s.SecurityOpt)
			}
			for _, port := range s.Ports {
				if port.HostIP != "127.0.0.1" {
					t.Errorf("%v: %s listens on %q", overlays, name, port.HostIP)
				}
			}
		}
	}
}

func TestEveryServiceHasTheUserOfItsRoleAndNoOther(t *testing.T) {
	p := load(t)
	for service, user := range map[string]string{"install": "install", "slicer": "slicer", "completer": "completer",
		"accesslog": "accesslog", "tapedeck": "viewer", "web": "web", "demo": "producer-demo"} {
		env := p.Services[service].Environment
		password := "password-of-" + strings.ToUpper(strings.ReplaceAll(user, "-", "_"))
		if *env["TAPEDECK_NATS_USER"] != user || *env["TAPEDECK_NATS_PASSWORD"] != password ||
			*env["TAPEDECK_NATS_INBOX"] != "_INBOX_"+strings.TrimPrefix(user, "producer-") {
			t.Errorf("%s is %s with %s and inbox %s", service, *env["TAPEDECK_NATS_USER"], *env["TAPEDECK_NATS_PASSWORD"], *env["TAPEDECK_NATS_INBOX"])
		}
		if watched := env["TAPEDECK_METRICS_ADDR"] != nil; watched != (service == "slicer" || service == "completer" || service == "accesslog") {
			t.Errorf("%s answers for its metrics: %t", service, watched)
		}
		for name, value := range env {
			if name != "TAPEDECK_NATS_PASSWORD" && value != nil && strings.Contains(*value, "password-of-") {
				t.Errorf("%s has a password in %s", service, name)
			}
		}
		if _, has := env["TAPEDECK_S3_SECRET_KEY"]; has && service == "demo" {
			t.Error("the producer has the keys of the store")
		}
	}
}

func TestEveryImageCanBeNamed(t *testing.T) {
	variables := map[string]string{"nats-1": "NATS_", "nats-2": "NATS_", "nats-3": "NATS_", "s3": "S3_", "slicer": "SLICER_",
		"completer": "COMPLETER_", "accesslog": "ACCESSLOG_", "demo": "DEMO_", "install": "", "tapedeck": "", "web": "",
		"otel-collector": "COLLECTOR_", "jaeger": "JAEGER_", "prometheus": "PROMETHEUS_", "grafana": "GRAFANA_"}
	for _, v := range variables {
		t.Setenv("TAPEDECK_"+v+"IMAGE", "registry.example/"+v+"name:7")
	}
	for _, overlays := range [][]string{{}, {"compose.offline.yaml"}} {
		p := load(t, overlays...)
		for name, s := range p.Services {
			v, named := variables[name]
			if want := "registry.example/" + v + "name:7"; !named || s.Image != want {
				t.Errorf("%v: %s is %s with TAPEDECK_%sIMAGE set to %s", overlays, name, s.Image, v, want)
			}
		}
		if len(p.Services) != len(variables) {
			t.Errorf("%v: %d services, and %d have a variable", overlays, len(p.Services), len(variables))
		}
	}
}

func TestImagesOfOthersArePinned(t *testing.T) {
	for name, s := range load(t).Services {
		_, tag, _ := strings.Cut(s.Image, ":")
		if !strings.HasPrefix(s.Image, "tapedeck/") && (tag == "" || tag == "latest" || !strings.ContainsAny(tag, "0123456789")) {
			t.Errorf("%s is %s, which may be another one tomorrow", name, s.Image)
		}
	}
}
