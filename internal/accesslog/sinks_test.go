package accesslog

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/parquet-go/parquet-go"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func openStore(t testing.TB) *s3store.Store {
	t.Helper()
	opt := embedtest.S3(t)
	opt.Prefix = "logs"
	store, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// objects reads all objects under a prefix.
func objects(t testing.TB, store *s3store.Store, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for o, err := range store.List(t.Context(), store.Key(dir), "") {
		if err != nil {
			t.Fatal(err)
		}
		r, err := store.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(o.Key, store.Key(dir))] = b
	}
	return out
}

// plain are the batches as JSON arrays.
func plain(t testing.TB, zs [][]byte) [][]byte {
	t.Helper()
	var out [][]byte
	for _, z := range zs {
		recs, err := accesslog.InflateBatch(z, accesslog.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := accesslog.MarshalRecords(recs)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func values(m map[string][]byte) [][]byte {
	var out [][]byte
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func TestS3GetsObjectsByDateAndHourAndAParquetTable(t *testing.T) {
	w, store := newWorld(t), openStore(t)
	w.publish(1050, 99)
	hour := time.Now().UTC()
	p := w.start(testConfig("s3", "parquet"), Deps{Store: store})
	eventually(t, func() bool {
		return w.acked("s3") && w.acked("parquet")
	})
	p.stop()

	got := objects(t, store, "access/")
	name := regexp.MustCompile(`^date=` + hour.Format("2006-01-02") + `/hour=` + hour.Format("15") + `/[0-9a-f-]{36}\.json\.z$`)
	for key := range got {
		if !name.MatchString(key) {
			t.Errorf("object is called %s", key)
		}
	}
	if len(got) < 11 {
		t.Errorf("%d objects for %d records, want 100 a batch at most", len(got), len(w.ended))
	}
	checkRecords(t, plain(t, values(got)), w.ended)

	var rows []Row
	for key, file := range objects(t, store, "access-parquet/") {
		if !strings.HasSuffix(key, ".parquet") || !strings.HasPrefix(key, "date=") {
			t.Errorf("object is called %s", key)
		}
		part, err := parquet.Read[Row](bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, part...)
	}
	checkRows(t, rows, w.ended)
}

func checkRows(t *testing.T, rows []Row, want []accesslog.Record) {
	t.Helper()
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.SessionID, b.SessionID) })
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i := range want {
		if have, row := rows[i], rowOf(&want[i]); !have.StartedAt.Equal(row.StartedAt) || !have.EndedAt.Equal(row.EndedAt) {
			t.Fatalf("row %d: %v to %v, want %v to %v", i, have.StartedAt, have.EndedAt, row.StartedAt, row.EndedAt)
		} else {
			have.StartedAt, have.EndedAt = row.StartedAt, row.EndedAt
			if have != row {
				t.Fatalf("row %d: %+v, want %+v", i, have, row)
			}
		}
	}
}

func TestParquetHasNullWhereARecordSaysNothingAndClosesAtItsSize(t *testing.T) {
	b := newParquetBuilder(64 << 10)
	open, closed := makeRecord(1, accesslog.KindStart), makeRecord(2, accesslog.KindEnd)
	open.User = ""
	for _, r := range []accesslog.Record{open, closed} {
		if err := b.add(&item{rec: r}); err != nil {
			t.Fatal(err)
		}
	}
	file, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for i, col := range f.Metadata().RowGroups[0].Columns {
		name, nulls := col.MetaData.PathInSchema[0], col.MetaData.Statistics.NullCount
		want := int64(0)
		if name == "endedAt" || name == "user" || name == "reason" {
			want = 1
		}
		if nulls != want {
			t.Errorf("column %d, %s, has %d nulls, want %d", i, name, nulls, want)
		}
	}
	n := 0
	for ; !b.full(nil); n++ {
		if err := b.add(&item{rec: makeRecord(n, accesslog.KindEnd)}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := b.finish()
	if err != nil || len(again) > 96<<10 || n < 100 {
		t.Errorf("file of %d records and %d bytes, %v; the limit is 65536", n, len(again), err)
	}
}

// A receiver keeps the requests that it took.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  map[string][]byte // by batch
	all  []*http.Request
	when []time.Time
	// answer is asked first, if it is not nil; 0 takes the batch.
	answer func(n int, h http.Header) int
}

func newReceiver(t testing.TB, idHeader string) *receiver {
	r := &receiver{got: map[string][]byte{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the sender was killed
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all, r.when = append(r.all, req), append(r.when, time.Now())
		if r.answer != nil {
			if status := r.answer(len(r.all), w.Header()); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		id := req.Header.Get(idHeader)
		if was, ok := r.got[id]; ok && !bytes.Equal(was, body) || id == "" {
			t.Errorf("request %q again with other content, or without an id", id)
		}
		r.got[id] = body
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func TestHTTPGetsBatchesInEveryFormatSigned(t *testing.T) {
	key := []byte("wild horses")
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, append(key, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_ACCESSLOG_TOKEN", "let me in")
	w := newWorld(t)
	w.publish(250, 40)
	sinks, receivers := []string{}, map[string]*receiver{}
	for _, f := range []string{FormatEnvelope, FormatJSON, FormatJSONZ} {
		r := newReceiver(t, accesslog.HeaderBatch)
		receivers[f] = r
		sinks = append(sinks, fmt.Sprintf("http,url=%s/in,format=%s,name=%s,token-env=TEST_ACCESSLOG_TOKEN,secret-file=%s", r.URL, f, strings.ReplaceAll(f, ".", "-"), file))
	}
	w.start(testConfig(sinks...), Deps{})
	for f, r := range receivers {
		eventually(t, func() bool { return r.count() >= 3 })
		r.mu.Lock()
		for i, req := range r.all {
			if got := req.Header.Get("Authorization"); got != "Bearer let me in" {
				t.Errorf("%s: authorization is %q", f, got)
			}
			at, err := strconv.ParseInt(strings.TrimPrefix(strings.Split(req.Header.Get(accesslog.HeaderSignature), ",")[0], "t="), 10, 64)
			id := req.Header.Get(accesslog.HeaderBatch)
			if want := accesslog.Sign(key, time.Unix(at, 0), id, r.got[id]); err != nil || !hmac.Equal([]byte(want), []byte(req.Header.Get(accesslog.HeaderSignature))) {
				t.Errorf("%s: signature %d is %s, want %s", f, i, req.Header.Get(accesslog.HeaderSignature), want)
			}
		}
		bodies := values(r.got)
		r.mu.Unlock()
		switch f {
		case FormatEnvelope:
			var fields []accesslog.Record
			for _, rec := range w.ended {
				fields = append(fields, rec.Field())
			}
			var arrays [][]byte
			for _, b := range bodies {
				recs, err := accesslog.DecodeEnvelope(b, accesslog.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				array, _ := accesslog.MarshalRecords(recs)
				arrays = append(arrays, array)
			}
			checkRecords(t, arrays, fields)
		case FormatJSON:
			checkRecords(t, bodies, w.ended)
		case FormatJSONZ:
			checkRecords(t, plain(t, bodies), w.ended)
		}
	}
}

func TestTheEnvelopeIsReadByPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("python3 is needed to check the format from outside: %v", err)
	}
	w, r := newWorld(t), newReceiver(t, accesslog.HeaderBatch)
	w.publish(60, 60)
	w.start(testConfig("http,url="+r.URL), Deps{})
	eventually(t, func() bool { return r.count() == 1 })
	cmd := exec.Command(python, "testdata/check_batch.py")
	cmd.Stdin = bytes.NewReader(values(r.got)[0])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for _, rec := range w.ended {
		fmt.Fprintln(&want, rec.SessionID, rec.SourceAddr, rec.Protocol, rec.StartedAt.Format(time.RFC3339Nano), rec.EndedAt.Format(time.RFC3339Nano), rec.BytesTx, rec.BytesRx)
	}
	if string(out) != want.String() {
		t.Errorf("python read\n%swant\n%s", out, want.String())
	}
}

func TestNATSGetsBatchesWithTheirIds(t *testing.T) {
	w := newWorld(t)
	js := w.conn.JetStream()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SIEM", Subjects: []string{"siem.>"}})
	if err != nil {
		t.Fatal(err)
	}
	w.publish(350, 40)
	w.start(testConfig("nats,subject=siem.access", "nats,subject=siem.plain,format=json,name=plain"), Deps{})
	eventually(t, func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs >= 8 && w.acked("nats") && w.acked("plain")
	})
	got := map[string][][]byte{}
	for seq := uint64(1); seq <= 8; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get(accesslog.HeaderBatch) == "" || m.Header.Get(jetstream.MsgIDHeader) != m.Header.Get(accesslog.HeaderBatch) {
			t.Errorf("message %d has headers %v", seq, m.Header)
		}
		got[m.Subject] = append(got[m.Subject], m.Data)
	}
	checkRecords(t, plain(t, got["siem.access"]), w.ended)
	checkRecords(t, got["siem.plain"], w.ended)
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

func TestStdoutGetsALineForEachRecordOrBatch(t *testing.T) {
	w := newWorld(t)
	w.publish(250, 30)
	var lines, batches lockedBuffer
	w.start(testConfig("stdout"), Deps{Stdout: &lines})
	w.start(testConfig("stdout,format=batches,name=b"), Deps{Stdout: &batches})
	eventually(t, func() bool {
		return strings.Count(lines.text(), "\n") == 250 && strings.Count(batches.text(), "sessionId") == 250
	})
	array := "[" + strings.ReplaceAll(strings.TrimSuffix(lines.text(), "\n"), "\n", ",") + "]"
	checkRecords(t, [][]byte{[]byte(array)}, w.ended)
	var bodies [][]byte
	for l := range strings.Lines(batches.text()) {
		var b struct {
			Batch   string
			Records json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &b); err != nil || b.Batch == "" {
			t.Fatalf("%v: %s", err, l)
		}
		bodies = append(bodies, b.Records)
	}
	checkRecords(t, bodies, w.ended)
}

func TestAllKindsOfRecordsOnRequest(t *testing.T) {
	w := newWorld(t)
	want := []accesslog.Record{makeRecord(1, accesslog.KindStart), makeRecord(1, accesslog.KindAlive), makeRecord(1, accesslog.KindEnd), makeRecord(2, accesslog.KindStart)}
	w.message(want)
	all, ended := newCollector(t), newCollector(t)
	w.start(testConfig("s3,kinds=all,name=all", "s3"), Deps{Store: noStore{}, wrapSink: func(name string, _ Sink) Sink {
		if name == "all" {
			return all
		}
		return ended
	}})
	all.check(want)
	ended.check(want[2:3])
}

func TestWebhooksGetNotificationsOnceByTheirId(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, HeaderID)
	r.answer = func(n int, _ http.Header) int {
		if n%2 == 1 {
			return http.StatusBadGateway
		}
		return 0
	}
	old := w.raw(bus.NotifySubject("completed"), []byte(`{"what":"completed","session":"old"}`), nats.Header{HeaderID: {"old/1"}})
	cfg := testConfig("webhook,url=" + r.URL)
	p := w.start(cfg, Deps{})
	eventually(t, func() bool { // it has begun, after what was there before
		kv := &kvStore{conn: w.conn, layout: w.layout}
		l, rev, err := kv.Load(t.Context(), "webhook")
		return err == nil && rev > 0 && l.Cursor.Seq == old+1
	})
	want := map[string]string{}
	for i := range 6 {
		id, what := fmt.Sprintf("sid-%d/%d", i, 40+i), []string{"completed", "abandoned", "failed"}[i%3]
		want[id] = fmt.Sprintf(`{"v":1, "id":%q, "what":%q}`, id, what)
		w.raw(bus.NotifySubject(what), []byte(want[id]), nats.Header{HeaderID: {id}})
		if i == 3 {
			p.kill()
			p = w.start(cfg, Deps{})
		}
	}
	w.raw(bus.NotifySubject("completed"), []byte(`{"cut of`), nil)
	eventually(t, func() bool { return r.count() == len(want) })
	for id, body := range want {
		if string(r.got[id]) != body {
			t.Errorf("notification %s is %s, want %s", id, r.got[id], body)
		}
	}
	eventually(t, func() bool { return len(w.kept()) == 1 })
}

// kept are the subjects of what was kept aside.
func (w *world) kept() []string {
	w.t.Helper()
	s, err := w.conn.JetStream().Stream(context.Background(), StreamPoison)
	if err != nil {
		return nil
	}
	info, err := s.Info(w.t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for subject, n := range info.State.Subjects {
		if n != 1 {
			w.t.Errorf("%s is kept %d times", subject, n)
		}
		out = append(out, subject)
	}
	slices.Sort(out)
	return out
}
