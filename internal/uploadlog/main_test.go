package uploadlog

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// connect is a connection to a server of the test's own, with all streams.
func connect(t testing.TB) *bus.Conn {
	t.Helper()
	conn := dial(t, embedtest.NATS(t))
	if _, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 2, EventsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	return conn
}

func dial(t testing.TB, url string) *bus.Conn {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func claim(t testing.TB, conn *bus.Conn, member string) *Owner {
	t.Helper()
	o, err := Claim(t.Context(), conn, 0, member, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Wait)
	return o
}

// state is an open session with some of everything.
func state(sid string, next int64) bus.SessionState {
	return bus.SessionState{
		SID: sid, Node: "node-1", Writer: "w", Opened: time.Unix(1, 0).UTC(), Seen: time.Unix(2, 0).UTC(),
		Next: next, Events: next, StreamSeq: uint64(next),
		Upload: &bus.UploadState{ID: "upload-" + sid, Key: sid + ".tar", Nonce: "n", Base: 1, Limit: 4},
	}
}

func base(sid string, next int64) Record {
	return Record{Kind: bus.KindBase, State: state(sid, next)}
}

// messages is how many messages UPLOADS has, and its last sequence.
func messages(t testing.TB, conn *bus.Conn) (n, last uint64) {
	t.Helper()
	s, err := conn.JetStream().Stream(t.Context(), bus.StreamUploads)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs, info.State.LastSeq
}

// eventually waits for what needs a moment.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func short(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func sidOf(i int) string { return fmt.Sprintf("session-%06d", i) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
