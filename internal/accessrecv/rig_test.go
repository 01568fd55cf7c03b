package accessrecv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rec is a record of session n.
func rec(n int, kind accesslog.Kind, seq int64) accesslog.Record {
	r := accesslog.Record{
		SessionID: fmt.Sprintf("%016x", n), ResourceID: int64(n % 7), SourceAddr: fmt.Sprintf("10.1.%d.%d:4000", n/250%250, n%250),
		DestAddr: "[2001:db8::1]:443", Protocol: accesslog.TCP, StartedAt: began.Add(time.Duration(n) * time.Second),
		BytesTx: 1000 * seq, BytesRx: seq, Kind: kind, Seq: seq, User: "ada", Node: "edge-1",
	}
	if kind == accesslog.KindEnd {
		r.Reason, r.EndedAt = accesslog.ReasonClosed, r.StartedAt.Add(time.Hour)
	}
	return r
}

// fieldRec is a record of session n as the field's clients send it.
func fieldRec(n int) accesslog.Record { return rec(n, accesslog.KindEnd, 3).Field() }

// running is a receiver in this process.
type running struct {
	Command
	url  string
	stop func() error
}

func start(t *testing.T, c Command) *running {
	t.Helper()
	if c.DB == "" {
		c.DB = filepath.Join(t.TempDir(), "a b?%", "access.db") // a name to quote
	}
	c.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- c.Run(ctx, Deps{Ready: func(url string) { ready <- url }}) }()
	r := &running{Command: c, stop: func() error { cancel(); err := <-done; done <- err; return err }}
	select {
	case r.url = <-ready:
	case err := <-done:
		t.Fatalf("receiver: %v", err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("receiver: %v", err)
		}
	})
	return r
}

// post sends a batch and returns the answer.
func (r *running) post(t *testing.T, body []byte, headers ...string) Answer {
	t.Helper()
	a, err := post(t.Context(), http.DefaultClient, r.url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func post(ctx context.Context, client *http.Client, url string, body []byte, headers ...string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return Answer{}, fmt.Errorf("status %d: %.100q: %w", resp.StatusCode, b, err)
	}
	if a.Status != resp.StatusCode {
		return a, fmt.Errorf("status %d, but %d in the body", resp.StatusCode, a.Status)
	}
	return a, nil
}

// dial opens a websocket to the receiver.
func (r *running) dial(t *testing.T, headers ...string) *websocket.Conn {
	t.Helper()
	opts := &websocket.DialOptions{HTTPHeader: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		opts.HTTPHeader.Set(headers[i], headers[i+1])
	}
	c, _, err := websocket.Dial(t.Context(), "ws"+r.url[len("http"):], opts) //nolint:bodyclose // the library's documentation: never
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func ask(t *testing.T, c *websocket.Conn, body []byte) Answer {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, body); err != nil {
		t.Fatal(err)
	}
	_, b, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Type string
		Data Answer
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Type != AnswerType {
		t.Fatalf("answer %q: %v", b, err)
	}
	return m.Data
}

// list is what a reader of the receiver's file sees.
func (r *running) list(t *testing.T, f Filter) []Session {
	t.Helper()
	s, err := Open(t.Context(), r.DB)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return sessions(t, s, f)
}

func sessions(t *testing.T, s *Store, f Filter) []Session {
	t.Helper()
	var out []Session
	for session, err := range s.Sessions(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, session)
	}
	return out
}

func create(t *testing.T) *Store {
	t.Helper()
	s, err := Create(t.Context(), filepath.Join(t.TempDir(), "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func store(t *testing.T, s *Store, recs ...accesslog.Record) {
	t.Helper()
	if err := s.Put(t.Context(), Batch{ID: fmt.Sprint(time.Now().UnixNano()), Hash: sha256.Sum256(nil), Records: recs}); err != nil {
		t.Fatal(err)
	}
}

func plain(t testing.TB, recs ...accesslog.Record) []byte {
	t.Helper()
	b, err := accesslog.MarshalRecords(recs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func envelope(t testing.TB, recs ...accesslog.Record) []byte {
	t.Helper()
	b, err := accesslog.EncodeEnvelope(recs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func deflated(t testing.TB, recs ...accesslog.Record) []byte {
	t.Helper()
	b, err := accesslog.DeflateBatch(recs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
