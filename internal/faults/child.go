package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed"
)

// childEnv makes a program of the suite one of its own children. It holds a
// childSpec as JSON.
const childEnv = "TAPEDECK_FAULTS_CHILD"

// A childSpec says which child a process is. One of the members is set.
type childSpec struct {
	NATS    *natsChild
	S3      *s3Child
	Produce *Produce
}

type natsChild struct {
	Dir, Name  string
	Port       int
	Cluster    *embed.NATSCluster
	SyncAlways bool
}

type s3Child struct {
	Dir    string
	Port   int
	Access string
	Secret string
	Bucket string
}

// Child does a child's work, if the process is one, and ends it. Every program that
// calls [Run], a test binary too, calls it first.
func Child() {
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	var spec childSpec
	err := json.Unmarshal([]byte(text), &spec)
	switch {
	case err != nil:
	case spec.NATS != nil:
		err = spec.NATS.run()
	case spec.S3 != nil:
		err = spec.S3.run()
	case spec.Produce != nil:
		err = produceChild(*spec.Produce)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func childProc(dir, name string, spec childSpec) (*proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return newProc(dir, name, self, []string{childEnv + "=" + string(text)}), nil
}

func childLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// signalled takes the word to stop from now on, also while a server still starts.
func signalled() <-chan os.Signal {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	return ch
}

func (c *natsChild) run() error {
	stop := signalled()
	n, err := embed.StartNATS(embed.NATSConfig{
		Dir: c.Dir, Name: c.Name, Port: c.Port, Cluster: c.Cluster, MaxStore: 1 << 40, SyncAlways: c.SyncAlways, Log: childLog(),
	})
	if err != nil {
		return err
	}
	<-stop
	n.Shutdown()
	return nil
}

func (c *s3Child) run() error {
	stop := signalled()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := embed.StartS3(ctx, embed.S3Config{Dir: c.Dir, Port: c.Port, AccessKey: c.Access, SecretKey: c.Secret, Bucket: c.Bucket, Log: childLog()})
	if err != nil {
		return err
	}
	<-stop
	s.Stop()
	return nil
}
