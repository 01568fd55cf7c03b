// Package embedtest gives tests a NATS server or an S3 bucket of their own,
// real ones, and takes them away when the test is over.
package embedtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// NATS starts a server with JetStream for the test and returns its URL.
func NATS(t testing.TB) string {
	t.Helper()
	return NATSServer(t, embed.NATSConfig{}).URL()
}

// NATSServer is NATS for a test that wants another configuration. Without a
// Dir it gets a temporary one.
func NATSServer(t testing.TB, cfg embed.NATSConfig) *embed.NATS {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = 8 << 30
	}
	n, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

// A Cluster is three servers that replicate streams among them.
type Cluster struct {
	Nodes [3]*embed.NATS
	cfgs  [3]embed.NATSConfig
}

// NATSCluster starts three servers and returns when a stream can have a replica on each.
func NATSCluster(t testing.TB, cfg embed.NATSConfig) *Cluster {
	t.Helper()
	c := &Cluster{}
	var peers []int
	for range c.cfgs {
		peers = append(peers, freePort(t))
	}
	for i := range c.cfgs {
		n := cfg
		n.Dir = t.TempDir()
		n.Name = fmt.Sprintf("node-%d", i)
		n.Port = freePort(t)
		n.Cluster = &embed.NATSCluster{Name: "tapedeck-test", Port: peers[i], Peers: peers}
		if n.MaxStore == 0 {
			n.MaxStore = 8 << 30
		}
		c.cfgs[i] = n
		c.Start(t, i)
	}
	t.Cleanup(func() {
		for i := range c.Nodes {
			c.Stop(i)
		}
	})
	c.awaitLeader(t)
	c.awaitPlaces(t)
	return c
}

// URLs are those of all servers, with commas between.
func (c *Cluster) URLs() string {
	var urls []string
	for _, cfg := range c.cfgs {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", cfg.Port))
	}
	return strings.Join(urls, ",")
}

// Stop shuts a server down, if it runs.
func (c *Cluster) Stop(i int) {
	if c.Nodes[i] != nil {
		c.Nodes[i].Shutdown()
		c.Nodes[i] = nil
	}
}

// Start starts a server again on the port and the directory that it had.
func (c *Cluster) Start(t testing.TB, i int) {
	t.Helper()
	n, err := embed.StartNATS(c.cfgs[i])
	if err != nil {
		t.Fatal(err)
	}
	c.Nodes[i] = n
}

func (c *Cluster) awaitLeader(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		current := 0
		for _, n := range c.Nodes {
			if n.Server().JetStreamIsCurrent() {
				current++
			}
		}
		if current == len(c.Nodes) {
			return
		}
	}
	t.Fatal("cluster has no leader after 30 s")
}

// awaitPlaces makes a stream of three replicas, and takes it away: that all servers know
// their leader does not yet mean that the leader knows how much room each has.
func (c *Cluster) awaitPlaces(t testing.TB) {
	t.Helper()
	nc, err := nats.Connect(c.URLs(), nats.UserInfo(c.cfgs[0].User, c.cfgs[0].Password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	probe := jetstream.StreamConfig{Name: "PROBE", Replicas: len(c.Nodes), Storage: jetstream.MemoryStorage}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err = js.CreateStream(t.Context(), probe); err == nil {
			if err := js.DeleteStream(t.Context(), probe.Name); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("cluster has no place for %d replicas after 30 s: %v", len(c.Nodes), err)
}

// FreeAddr is an address of this machine that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// gateway is the one gateway of the process. It runs as long as a test uses it.
var gateway struct {
	sync.Mutex
	s3    *embed.S3
	dir   string
	users int
}

var buckets atomic.Int64

// S3 returns options that reach an empty bucket of the test's own. One gateway
// serves all tests of the process; the first starts it and the last stops it.
// What is written is not synced: a test process that is killed loses nothing by
// that, and syncing the machine's file system takes long.
func S3(t testing.TB) s3store.Options {
	t.Helper()
	g := acquire(t)
	opt := g.Options()
	opt.Bucket = fmt.Sprintf("test-%d", buckets.Add(1))
	opt.SyncDir = ""
	store, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return opt
}

// S3Dir is the directory of the gateway, for a test that looks behind it. It is
// good after S3 and until the test ends.
func S3Dir(t testing.TB) string {
	t.Helper()
	gateway.Lock()
	defer gateway.Unlock()
	if gateway.s3 == nil {
		t.Fatal("S3Dir before S3")
	}
	return filepath.Join(gateway.dir, "buckets")
}

func acquire(t testing.TB) *embed.S3 {
	t.Helper()
	gateway.Lock()
	defer gateway.Unlock()
	if gateway.s3 == nil {
		dir, err := os.MkdirTemp("", "tapedeck-s3-")
		if err != nil {
			t.Fatal(err)
		}
		s, err := embed.StartS3(context.Background(), embed.S3Config{Dir: dir})
		if err != nil {
			_ = os.RemoveAll(dir)
			t.Fatal(err)
		}
		gateway.s3, gateway.dir = s, dir
	}
	gateway.users++
	t.Cleanup(release)
	return gateway.s3
}

func release() {
	gateway.Lock()
	defer gateway.Unlock()
	if gateway.users--; gateway.users > 0 {
		return
	}
	gateway.s3.Stop()
	_ = os.RemoveAll(gateway.dir)
	gateway.s3 = nil
}
