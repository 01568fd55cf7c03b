package stack_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	access "github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// An access session that a tracker reports to a stack is in the stack's bucket,
// as JSON and as Parquet.
func TestAccessRecordsComeToTheBucket(t *testing.T) {
	cfg := accesslog.DefaultConfig()
	cfg.Sinks = []accesslog.SinkConfig{{Kind: accesslog.KindS3, Name: "s3"}, {Kind: accesslog.KindParquet, Name: "parquet"}}
	cfg.Flush, cfg.ParquetFlush = 50*time.Millisecond, 50*time.Millisecond
	dir := t.TempDir()
	info, _ := start(t, stack.Config{Dir: dir, AccessLog: &cfg})
	conn, err := bus.Connect(t.Context(), info.NATS, nil)
	must(t, err)
	defer conn.Close()
	tracker, err := access.New(access.Config{Node: "n"}, access.NewPublisher(conn))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- tracker.Run(ctx) }()
	tracker.Start(access.Flow{Resource: 7, Dest: "[2001:db8::1]:22", User: "ada"}).End(access.ReasonClosed)
	stop()
	must(t, <-ran)

	store, err := s3store.Open(t.Context(), info.S3, nil)
	must(t, err)
	defer store.Close()
	recs, err := access.InflateBatch(waitObject(t, store, "access/"), access.Limits{})
	must(t, err)
	if len(recs) != 1 || recs[0].ResourceID != 7 || recs[0].User != "ada" || recs[0].DestAddr != "[2001:db8::1]:22" || recs[0].Reason != access.ReasonClosed {
		t.Errorf("records are %+v", recs)
	}
	if b := waitObject(t, store, "access-parquet/"); !strings.HasPrefix(string(b), "PAR1") || !strings.HasSuffix(string(b), "PAR1") {
		t.Errorf("object of %d bytes is no Parquet file", len(b))
	}
}

// waitObject waits for an object under a prefix and returns what it holds.
func waitObject(t *testing.T, store *s3store.Store, prefix string) []byte {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for obj, err := range store.List(t.Context(), store.Key(prefix), "") {
			must(t, err)
			body, err := store.Get(t.Context(), obj.Key)
			must(t, err)
			defer body.Close()
			b, err := io.ReadAll(body)
			must(t, err)
			return b
		}
	}
	t.Fatalf("nothing came under %s", prefix)
	return nil
}
