package embed_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func TestGatewayLeavesTheWorkingDirectoryAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	before, _ := os.Getwd()
	s, err := embed.StartS3(t.Context(), embed.S3Config{Dir: "relative"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if after, _ := os.Getwd(); after != before {
		t.Errorf("working directory is %s, was %s", after, before)
	}
	if err := os.Chdir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	store, err := s3store.Open(t.Context(), s.Options(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("tape"), 1000)
	if err := store.Put(t.Context(), "a/b", want, true); err != nil {
		t.Fatal(err)
	}
	body, err := store.Get(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
	if _, err := os.Stat(filepath.Join(before, "relative/buckets/tapedeck/a/b")); err != nil {
		t.Error(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	start := time.Now()
	s.Stop()
	t.Log("stop took", time.Since(start))
}

func TestSecondGatewayIsRefused(t *testing.T) {
	embedtest.S3(t)
	if s, err := embed.StartS3(t.Context(), embed.S3Config{Dir: t.TempDir()}); err == nil {
		s.Stop()
		t.Fatal("two gateways in one process")
	}
}

func TestServerKeepsStreamsOverARestart(t *testing.T) {
	cfg := embed.NATSConfig{Dir: t.TempDir(), SyncAlways: true, User: "u", Password: "p"}
	for round := range uint64(3) {
		n, err := embed.StartNATS(cfg)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(n.URL(), nats.UserInfo("u", "p"))
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish(t.Context(), "s", []byte("x"))
		if err != nil || ack.Sequence != round+1 {
			t.Errorf("round %d: ack %+v, %v", round, ack, err)
		}
		nc.Close()
		n.Shutdown()
		cfg.Port = n.Port()
	}
}

func TestTakenPortIsAnErrorAtOnce(t *testing.T) {
	n := embedtest.NATSServer(t, embed.NATSConfig{})
	start := time.Now()
	if _, err := embed.StartNATS(embed.NATSConfig{Dir: t.TempDir(), Port: n.Port()}); err == nil {
		t.Error("two servers on one port")
	} else {
		t.Log(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %s", d)
	}
}

func TestClusterGoesOnWithoutOneServer(t *testing.T) {
	c := embedtest.NATSCluster(t, embed.NATSConfig{})
	nc, err := nats.Connect(c.URLs())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	c.Stop(0)
	for {
		if _, err = js.Publish(t.Context(), "s", []byte("y")); err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	c.Start(t, 0)
}
