//go:build compose

package compose

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

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
		s.stopped = append(s.stopped, what)
		t.Logf("%-32s %3.0f s, %d sessions recorded meanwhile", what, time.Since(begin).Seconds(), tr.count()-before)
	}
	rest := func(d time.Duration) { time.Sleep(d) }

	follower, _ := s.nodes(lib.Conn)
	step("stopped "+follower+", a NATS node", func() {
		s.compose("stop", follower)
		rest(6 * time.Second)
		s.compose("start", follower)
		s.await(follower, "healthy")
	})
	_, leader := s.nodes(lib.Conn)
	step("killed "+leader+", the leader", func() {
		s.compose("kill", leader)
		rest(6 * time.Second)
		s.compose("start", leader)
		s.await(leader, "healthy")
	})
	step("killed a slicer", func() {
		s.docker("kill", s.container("slicer"))
		rest(6 * time.Second)
	})
	step("stopped the S3 gateway for 30 s", func() {
		s.compose("stop", "s3")
		rest(30 * time.Second)
		s.compose("start", "s3")
	})
	step("slicers from 2 to 4", func() {
		s.compose("up", "-d", "--no-recreate", "--no-deps", "--scale", "slicer=4", "slicer")
		rest(6 * time.Second)
	})
	step("slicers from 4 to 1", func() {
		s.compose("up", "-d", "--no-recreate", "--no-deps", "--scale", "slicer=1", "slicer")
		rest(6 * time.Second)
	})
	s.measured()
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
	s.stopped = append(s.stopped, "restarted nats-1, the only NATS node")
	time.Sleep(5 * time.Second)
	stop()
	s.compose("--profile", "demo", "stop", "--timeout", "15", "demo")
	s.verify(lib, tr, "demo")
}

// lockedDown checks that what the files ask for is what Docker runs.
func (s *composed) lockedDown() {
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

// measured holds what the containers tell against what alerts and dashboards ask for.
// That their network can be reached from here is so on Linux only.
func (s *composed) measured() {
	s.t.Helper()
	if runtime.GOOS != "linux" {
		s.t.Logf("NOT RUN: the containers' metrics cannot be reached from %s", runtime.GOOS)
		return
	}
	asked, lacks := queries(s.t), []string{"everything"}
	for deadline := time.Now().Add(30 * time.Second); len(lacks) > 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		m := metrics{}
		for _, service := range []string{"slicer", "completer", "accesslog"} {
			for _, id := range strings.Fields(s.compose("ps", "-q", service)) {
				m.scrape(s.t, s.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)+":9464")
			}
		}
		lacks = m.lacks(asked)
	}
	for _, l := range lacks {
		s.t.Error(l)
	}
	s.t.Logf("%d queries of alerts and dashboards find what they ask for", len(asked))
}
