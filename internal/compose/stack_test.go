//go:build compose

package compose

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A stack is one that Compose runs. scripts/compose-test.sh has built the images.
type stack struct {
	t    *testing.T
	args []string // of every docker command
	env  map[string]string
	urls []string
}

func newStack(t *testing.T, name string, overlays ...string) *stack {
	t.Helper()
	envFile := t.TempDir() + "/env"
	if out, err := exec.Command(deployDir+"/make-env.sh", envFile).CombinedOutput(); err != nil {
		t.Fatalf("make the credentials: %v\n%s", err, out)
	}
	s := &stack{t: t, env: map[string]string{}}
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
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) try(args ...string) (string, error) {
	cmd := exec.Command("docker", append(slices.Clone(s.args), args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

func (s *stack) up() {
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

func (s *stack) connect(user string) *bus.Conn {
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

func (s *stack) library() *recording.Library {
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

// A traffic records sessions until it is stopped, and knows what went into each.
type traffic struct {
	mu   sync.Mutex
	sums map[string][]byte // of the printed bytes, by session; only those that the bus has accepted whole
	errs []error
}

// record keeps n sessions going on node demo, each of some seconds.
func (s *stack) record(n int) (*traffic, func()) {
	s.t.Helper()
	conn := s.connect("producer-demo")
	layout, err := bus.Inspect(s.t.Context(), conn)
	if err != nil {
		s.t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "demo"})
	if err != nil {
		s.t.Fatal(err)
	}
	tr := &traffic{sums: map[string][]byte{}}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-quit:
					return
				default:
				}
				tr.one(s.t.Context(), rec, 20+13*((i+k)%12))
			}
		})
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			close(quit)
			wg.Wait()
		})
	}
	s.t.Cleanup(stop)
	return tr, stop
}

func (tr *traffic) one(ctx context.Context, rec *recorder.Recorder, lines int) {
	sid, sum := uuid.NewString(), sha256.New()
	ses, err := rec.Start(ctx, recorder.Spec{ID: sid, User: "joe", Login: "root", Width: 80, Height: 24})
	for i := 0; i < lines && err == nil; i++ {
		line := fmt.Sprintf("%s %d %s\r\n", sid, i, uuid.NewString())
		if _, err = ses.Write([]byte(line)); err == nil {
			sum.Write([]byte(line))
		}
		time.Sleep(40 * time.Millisecond)
	}
	if err == nil {
		err = ses.End(ctx)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err != nil {
		tr.errs = append(tr.errs, fmt.Errorf("session %s: %w", sid, err))
		return
	}
	tr.sums[sid] = sum.Sum(nil)
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.sums)
}

func TestStackLosesNothingWhileItsPartsAreStopped(t *testing.T) {
	s := newStack(t, "tapedeck-test", "compose.offline.yaml")
	begin := time.Now()
	s.up()
	lib := s.library()
	t.Logf("up in %s", time.Since(begin).Round(time.Second))
	tr, stop := s.record(12)
	step := func(what string, do func()) {
		t.Helper()
		begin, before := time.Now(), tr.count()
		do()
		t.Logf("%-32s %3.0f s, %d sessions recorded meanwhile", what, time.Since(begin).Seconds(), tr.count()-before)
	}
	rest := func(d time.Duration) { time.Sleep(d) }

	step("nothing", func() { rest(8 * time.Second) })
	follower, _ := s.nodes(lib.Conn)
	step("stopped "+follower+", a NATS node", func() {
		s.compose("stop", follower)
		rest(8 * time.Second)
		s.compose("start", follower)
		s.await(follower, "healthy")
	})
	_, leader := s.nodes(lib.Conn)
	step("killed "+leader+", the leader", func() {
		s.compose("kill", leader)
		rest(8 * time.Second)
		s.compose("start", leader)
		s.await(leader, "healthy")
	})
	step("killed a slicer", func() {
		s.docker("kill", s.container("slicer"))
		rest(8 * time.Second)
	})
	step("stopped the S3 gateway for 30 s", func() {
		s.compose("stop", "s3")
		rest(30 * time.Second)
		s.compose("start", "s3")
	})
	step("slicers from 2 to 4", func() {
		s.compose("up", "-d", "--no-recreate", "--no-deps", "--scale", "slicer=4", "slicer")
		rest(8 * time.Second)
	})
	step("slicers from 4 to 1", func() {
		s.compose("up", "-d", "--no-recreate", "--no-deps", "--scale", "slicer=1", "slicer")
		rest(8 * time.Second)
	})
	stop()
	s.compose("--profile", "demo", "stop", "--timeout", "15", "demo")
	s.verify(lib, tr, "demo")
}

func TestStackWithOneServerRecords(t *testing.T) {
	s := newStack(t, "tapedeck-single-test", "compose.offline.yaml", "compose.single.yaml")
	s.urls = s.urls[:1]
	s.up()
	lib := s.library()
	s.lockedDown()
	tr, stop := s.record(4)
	time.Sleep(5 * time.Second)
	s.compose("restart", "nats-1")
	time.Sleep(5 * time.Second)
	stop()
	s.compose("--profile", "demo", "stop", "--timeout", "15", "demo")
	s.verify(lib, tr, "demo")
}

// nodes names the service that leads most streams of events, and one that is not it.
func (s *stack) nodes(conn *bus.Conn) (follower, leader string) {
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

func (s *stack) docker(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// container is the id of one of a service's containers.
func (s *stack) container(service string) string {
	s.t.Helper()
	ids := strings.Fields(s.compose("ps", "-q", service))
	if len(ids) == 0 {
		s.t.Fatalf("no container of %s runs", service)
	}
	return ids[0]
}

func (s *stack) await(service, health string) {
	s.t.Helper()
	id, was := s.container(service), ""
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if was = s.docker("inspect", "-f", "{{.State.Health.Status}}", id); was == health {
			return
		}
	}
	s.t.Fatalf("%s is %s after 90 s", service, was)
}

// verify checks every byte of every recording against its manifest, and what was
// recorded here against what went in.
func (s *stack) verify(lib *recording.Library, tr *traffic, demo string) {
	s.t.Helper()
	for _, err := range tr.errs {
		s.t.Error(err)
	}
	begin, lost, demos := time.Now(), 0, 0
	sids := slices.Collect(maps.Keys(tr.sums))
	for info, err := range lib.List(s.t.Context(), recording.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if tr.sums[info.Session] == nil {
			demos++
			sids = append(sids, info.Session)
		}
	}
	if demos == 0 {
		s.t.Errorf("service %s recorded no session", demo)
	}
	for _, sid := range sids {
		if err := finishedWhole(s.t.Context(), lib, sid, tr.sums[sid], begin.Add(2*time.Minute)); err != nil {
			lost++
			s.t.Errorf("session %s: %v", sid, err)
		}
	}
	if len(tr.sums) < 10 {
		s.t.Errorf("only %d sessions were recorded", len(tr.sums))
	}
	fmt.Printf("%d recordings verified, %d lost (%d of them of the demo's, all finished %s after the end)\n",
		len(sids)-lost, lost, demos, time.Since(begin).Round(time.Second))
}

func finishedWhole(ctx context.Context, lib *recording.Library, sid string, want []byte, deadline time.Time) error {
	for {
		rep, err := lib.Verify(ctx, sid, nil)
		if err == nil && rep.Verdict == recording.OK {
			break
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: %q", rep.Verdict, rep.Problems), err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	rec, err := lib.Open(ctx, sid)
	if err != nil || want == nil {
		return err
	}
	defer func() { _ = rec.Close() }()
	sum := sha256.New()
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err == nil {
			err = addPrint(sum, r.OneOf)
		}
		if err != nil {
			return err
		}
	}
	if got := sum.Sum(nil); string(got) != string(want) {
		return errors.New("what was printed is not what was recorded")
	}
	return nil
}

func addPrint(sum hash.Hash, oneof []byte) error {
	o, err := events.Unmarshal(oneof)
	if err != nil {
		return err
	}
	sum.Write(o.GetSessionPrint().GetData())
	return nil
}

// lockedDown checks that what the files ask for is what Docker runs.
func (s *stack) lockedDown() {
	s.t.Helper()
	for _, id := range strings.Fields(s.compose("--profile", "demo", "ps", "-q")) {
		var c []struct {
			Name       string
			Config     struct{ User string }
			HostConfig struct {
				ReadonlyRootfs bool
				CapDrop        []string
			}
			NetworkSettings struct {
				Ports map[string][]struct{ HostIP string }
			}
		}
		if err := json.Unmarshal([]byte(s.docker("inspect", id)), &c); err != nil {
			s.t.Fatal(err)
		}
		if c[0].Config.User != "65532:65532" || !c[0].HostConfig.ReadonlyRootfs || !slices.Equal(c[0].HostConfig.CapDrop, []string{"ALL"}) {
			s.t.Errorf("%s: user %q, read-only %t, dropped %v", c[0].Name, c[0].Config.User, c[0].HostConfig.ReadonlyRootfs, c[0].HostConfig.CapDrop)
		}
		for port, at := range c[0].NetworkSettings.Ports {
			for _, a := range at {
				if a.HostIP != "127.0.0.1" {
					s.t.Errorf("%s: port %s is open on %s", c[0].Name, port, a.HostIP)
				}
			}
		}
	}
}
