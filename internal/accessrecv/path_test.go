package accessrecv

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	consumer "github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// The consumer and the receiver share no code of the way between them; this is
// where they meet.
func TestWhatTheConsumersSinksSendIsReceived(t *testing.T) {
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	const all = 250
	publish(t, conn, all)
	dir := t.TempDir()
	secret := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("the "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, key := secret("token"), secret("key")
	cfg := consumer.DefaultConfig()
	cfg.Flush = 50 * time.Millisecond
	receivers := map[string]*running{}
	for _, format := range []string{"envelope", "json", "json.z"} {
		r := start(t, Command{TokenFile: token, SecretFile: key})
		receivers[format] = r
		text := "http,name=s" + strings.ReplaceAll(format, ".", "-") + ",format=" + format + ",url=" + r.url + ",kinds=all,token-file=" + token + ",secret-file=" + key
		var sink consumer.SinkConfig
		if err := sink.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		cfg.Sinks = append(cfg.Sinks, sink)
	}
	c, err := consumer.New(cfg, consumer.Deps{Conn: conn, Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for format, r := range receivers {
		for len(r.list(t, Filter{States: []State{Ended}})) < all && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		got := r.list(t, Filter{})
		if len(got) != all+1 {
			t.Errorf("%s: %d sessions, want %d", format, len(got), all+1)
		}
		for _, s := range got {
			if open := s.SessionID == rec(all, "", 0).SessionID; open != (s.State == Active) || !open && s.BytesTx != 3000 {
				t.Errorf("%s: %+v", format, s)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// publish publishes n sessions that have ended, and one that has not.
func publish(t *testing.T, conn *bus.Conn, n int) {
	t.Helper()
	recs := []accesslog.Record{rec(n, accesslog.KindStart, 0), rec(n, accesslog.KindAlive, 2)}
	for i := range n {
		recs = append(recs, rec(i, accesslog.KindStart, 0), rec(i, accesslog.KindAlive, 2), rec(i, accesslog.KindEnd, 3))
	}
	pub := accesslog.NewPublisher(conn)
	for number := int64(0); len(recs) > 0; number++ {
		k := min(50, len(recs))
		if err := pub.Publish(t.Context(), accesslog.Message{Resource: 1, Writer: "w", Number: number, Body: plain(t, recs[:k]...)}); err != nil {
			t.Fatal(err)
		}
		recs = recs[k:]
	}
}
