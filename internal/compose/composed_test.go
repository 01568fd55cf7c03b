//go:build compose

package compose

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A composed stack is one that Compose runs. scripts/compose-test.sh has built the images.
type composed struct {
	t    *testing.T
	args []string // of every docker command
	env  map[string]string
	urls []string

	stopped []string // what was stopped, for the last line
}

func newStack(t *testing.T, name string, overlays ...string) *composed {
	t.Helper()
	envFile := t.TempDir() + "/env"
	if out, err := exec.Command(deployDir+"/make-env.sh", envFile).CombinedOutput(); err != nil {
		t.Fatalf("make the credentials: %v\n%s", err, out)
	}
	s := &composed{t: t, env: map[string]string{}}
	b, err := os.ReadFile(envFile)
	if err != nil {
		t.Fatal(err)
	}
	b = fmt.Append(b, "TAPEDECK_NATS_PORT_1=14222\nTAPEDECK_NATS_PORT_2=14223\nTAPEDECK_NATS_PORT_3=14224\nTAPEDECK_S3_PORT=17070\nDEMO_EVERY=1s\nDEMO_LINES=20\n")
	if err := os.WriteFile(envFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			s.env[k] = v
		}
	}
	s.urls = []string{"nats://127.0.0.1:14222", "nats://127.0.0.1:14223", "nats://127.0.0.1:14224"}
	s.args = []string{"compose", "-p", name, "--env-file", envFile, "-f", deployDir + "/compose.yaml"}
	for _, o := range overlays {
		s.args = append(s.args, "-f", deployDir+"/"+o)
	}
	return s
}

// compose runs one command of Compose and returns what it printed.
func (s *composed) compose(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *composed) try(args ...string) (string, error) {
	cmd := exec.Command("docker", append(slices.Clone(s.args), args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

func (s *composed) up() {
	s.t.Helper()
	s.t.Cleanup(func() {
		if s.t.Failed() {
			out, _ := s.try("ps", "-a")
			logs, _ := s.try("logs", "--tail", "60")
			s.t.Logf("%s\n%s", out, logs)
		}
		_, _ = s.try("--profile", "demo", "down", "-v", "--timeout", "5")
	})
	s.compose("--profile", "demo", "up", "-d", "--quiet-pull")
}

func (s *composed) connect(user string) *bus.Conn {
	s.t.Helper()
	pw := s.env["NATS_"+strings.ToUpper(strings.ReplaceAll(user, "-", "_"))+"_PASSWORD"]
	c, err := bus.Connect(s.t.Context(), bus.Options{URL: s.urls, User: user, Password: bus.Secret(pw), Wait: time.Minute,
		InboxPrefix: "_INBOX_" + strings.TrimPrefix(user, "producer-")}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *composed) library() *recording.Library {
	s.t.Helper()
	conn := s.connect("viewer")
	layout, err := bus.Inspect(s.t.Context(), conn)
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := s3store.Open(s.t.Context(), s3store.Options{Bucket: "tapedeck", Endpoint: "http://127.0.0.1:17070", PathStyle: true,
		AccessKey: s.env["S3_ACCESS_KEY"], SecretKey: s.env["S3_SECRET_KEY"]}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = store.Close() })
	return &recording.Library{Store: store, Conn: conn, Layout: layout}
}

// nodes names the service that leads most streams of events, and one that is not it.
func (s *composed) nodes(conn *bus.Conn) (follower, leader string) {
	s.t.Helper()
	leads := map[string]int{"nats-1": 0, "nats-2": 0, "nats-3": 0}
	for p := range 8 {
		st, err := conn.JetStream().Stream(s.t.Context(), bus.EventStream(p))
		if err != nil {
			s.t.Fatal(err)
		}
		if c := st.CachedInfo().Cluster; c != nil {
			leads[c.Leader]++
		}
	}
	for _, n := range slices.Sorted(maps.Keys(leads)) {
		if leader == "" || leads[n] > leads[leader] {
			leader = n
		}
		if follower == "" || leads[n] < leads[follower] {
			follower = n
		}
	}
	return follower, leader
}

func (s *composed) docker(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// container is the id of one of a service's containers.
func (s *composed) container(service string) string {
	s.t.Helper()
	ids := strings.Fields(s.compose("ps", "-q", service))
	if len(ids) == 0 {
		s.t.Fatalf("no container of %s runs", service)
	}
	return ids[0]
}

func (s *composed) await(service, health string) {
	s.t.Helper()
	id, was := s.container(service), ""
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if was = s.docker("inspect", "-f", "{{.State.Health.Status}}", id); was == health {
			return
		}
	}
	s.t.Fatalf("%s is %s after 90 s", service, was)
}
