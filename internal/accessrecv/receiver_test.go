package accessrecv

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack/unpacktest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestEveryFormOfABatchIsStoredByPostAndWebsocket(t *testing.T) {
	forms := []struct {
		name    string
		make    func(testing.TB, ...accesslog.Record) []byte
		headers []string
	}{
		{"array", plain, nil},
		{"envelope", envelope, nil},
		{"deflated array", deflated, []string{"Content-Encoding", "deflate"}},
	}
	r := start(t, Command{})
	ws := r.dial(t)
	n := 0
	for _, form := range forms {
		for _, transport := range []string{"post", "websocket"} {
			if transport == "websocket" && form.headers != nil {
				continue // a websocket's message has no headers
			}
			t.Run(form.name+" by "+transport, func(t *testing.T) {
				var recs []accesslog.Record
				for range 100 {
					recs = append(recs, fieldRec(n))
					n++
				}
				b := form.make(t, recs...)
				send := func() Answer {
					if transport == "websocket" {
						return ask(t, ws, b)
					}
					return r.post(t, b, form.headers...)
				}
				first := send()
				if first.Status != 200 || first.Stored != 100 || first.Repeated || !strings.HasPrefix(first.Batch, "sha256:") {
					t.Fatalf("answer %+v", first)
				}
				if again := send(); again.Status != 200 || again.Stored != 100 || !again.Repeated || again.Batch != first.Batch {
					t.Fatalf("answer %+v", again)
				}
				if got := r.list(t, Filter{}); len(got) != n || got[0].SessionID != recs[99].SessionID || got[0].State != Ended {
					t.Fatalf("%d sessions, want %d", len(got), n)
				}
			})
		}
	}
	if a := r.post(t, []byte("[]")); a.Status != 200 || a.Stored != 0 {
		t.Errorf("nothing: %+v", a)
	}
}

func TestAnIDOfABatchIsInTheHeaderOrInTheEnvelope(t *testing.T) {
	r := start(t, Command{})
	if a := r.post(t, plain(t, rec(1, accesslog.KindEnd, 1)), accesslog.HeaderBatch, "b-1"); a.Batch != "b-1" || a.Status != 200 {
		t.Errorf("header: %+v", a)
	}
	b := bytes.Replace(envelope(t, rec(2, accesslog.KindEnd, 1)), []byte(`"data":{`), []byte(`"data":{"batch":"b-2",`), 1)
	if a := ask(t, r.dial(t), b); a.Batch != "b-2" || a.Status != 200 {
		t.Errorf("envelope: %+v", a)
	}
	if a := r.post(t, b); a.Batch != "b-2" || !a.Repeated {
		t.Errorf("envelope again: %+v", a)
	}
	// The same id and other records: somebody's mistake, which costs no session.
	if a := r.post(t, plain(t, rec(3, accesslog.KindEnd, 1)), accesslog.HeaderBatch, "b-1"); a.Repeated || a.Stored != 1 {
		t.Errorf("id of another: %+v", a)
	}
	if got := r.list(t, Filter{}); len(got) != 3 {
		t.Errorf("%d sessions, want 3", len(got))
	}
	for _, id := range []string{"with space", "ümlaut", strings.Repeat("x", 201)} {
		if a := r.post(t, []byte("[]"), accesslog.HeaderBatch, id); a.Status != 400 || !strings.Contains(a.Error, "bad batch id") {
			t.Errorf("id %q: %+v", id, a)
		}
	}
}

// zip is an envelope of some JSON.
func zip(t *testing.T, json string) []byte {
	return unpacktest.Seal(unpacktest.Squeeze(t, []byte(json)))
}

func TestBadInputIsOneClearLineAndCostsNoGoodRecord(t *testing.T) {
	good := string(bytes.Trim(plain(t, rec(1, accesslog.KindEnd, 1)), "[]"))
	other := string(bytes.Trim(plain(t, rec(2, accesslog.KindEnd, 1)), "[]"))
	noID := strings.Replace(good, `"sessionId":"0000000000000001"`, `"sessionId":""`, 1)
	z := deflated(t, rec(1, accesslog.KindEnd, 1), rec(2, accesslog.KindEnd, 1))
	badSum := bytes.Clone(z)
	badSum[len(badSum)-1] ^= 1
	tests := []struct {
		name    string
		body    []byte
		headers []string
		status  int
		stored  int
		refused []int
		says    string
	}{
		{"nothing", nil, nil, 400, 0, nil, "it is empty"},
		{"no JSON", []byte("hello"), nil, 400, 0, nil, "want a JSON array of records or an envelope"},
		{"an envelope that breaks off", []byte(`{"type":"newt/access-log"`), nil, 400, 0, nil, "unexpected end of JSON"},
		{"an envelope of something else", []byte(`{"type":"newt/ping","data":{}}`), nil, 400, 0, nil, `type "newt/ping", want "newt/access-log"`},
		{"an envelope with nothing in it", []byte(`{"type":"newt/access-log"}`), nil, 400, 0, nil, "no data.compressed"},
		{"broken base64", []byte(`{"type":"newt/access-log","data":{"compressed":"eNo*"}}`), nil, 400, 0, nil, "illegal base64 data at input byte 3"},
		{"no zlib", unpacktest.Seal([]byte("no zlib")), nil, 400, 0, nil, "invalid header"},
		{"zlib that breaks off", unpacktest.Seal(z[:len(z)-9]), nil, 400, 0, nil, "unexpected EOF"},
		{"zlib with a wrong checksum", unpacktest.Seal(badSum), nil, 400, 0, nil, "invalid checksum"},
		{"zlib with something after it", unpacktest.Seal(append(bytes.Clone(z), 1, 2, 3)), nil, 400, 0, nil, "3 bytes after its end"},
		{"deflate that is none", []byte("[]"), []string{"Content-Encoding", "deflate"}, 400, 0, nil, "invalid header"},
		{"an envelope in deflate", unpacktest.Squeeze(t, envelope(t, rec(1, accesslog.KindEnd, 1))), []string{"Content-Encoding", "deflate"}, 400, 0, nil, "not a JSON array"},
		{"an encoding that is not known", []byte("[]"), []string{"Content-Encoding", "br"}, 415, 0, nil, `Content-Encoding "br"`},
		{"JSON in zlib that is no array", zip(t, `{"a":1}`), nil, 400, 0, nil, "not a JSON array"},
		{"JSON in zlib that breaks off", zip(t, "["+good+","+other+`,{"sess`), nil, 400, 2, nil, "record 2"},
		{"JSON that breaks off", []byte("[" + good + "," + other[:40]), nil, 400, 1, nil, "record 1"},
		{"a record without an id", zip(t, "["+good+","+noID+","+other+"]"), nil, 422, 2, []int{1}, "no sessionId"},
		{"a record that is none", []byte("[" + good + `,17,{"sessionId":7},` + other + "]"), nil, 422, 2, []int{1, 2}, "2 bad records (2 good)"},
		{"bad records and JSON that breaks off", []byte("[17," + good + ",{"), nil, 400, 1, []int{0}, "bad records"},
		{"no good record", []byte("[{}]"), nil, 422, 0, []int{0}, "no startedAt"},
		{"too many records", []byte("[" + strings.Repeat(good+",", 10) + other + "]"), nil, 413, 0, nil, "more than 10"},
		{"a body that is too long", []byte("[" + strings.Repeat(" ", 64<<10) + "]"), nil, 413, 0, nil, "limit 65536 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Command{MaxBody: 64 << 10, MaxRecords: 10})
			answers := []Answer{r.post(t, test.body, append(test.headers, accesslog.HeaderBatch, "b")...), r.post(t, test.body, append(test.headers, accesslog.HeaderBatch, "b")...)}
			if test.headers == nil && len(test.body) <= r.MaxBody {
				answers = append(answers, ask(t, r.dial(t), test.body))
			}
			for i, a := range answers {
				var refused []int
				for _, f := range a.Refused {
					refused = append(refused, f.Index)
				}
				if a.Status != test.status || a.Stored != test.stored || a.Repeated || fmt.Sprint(refused) != fmt.Sprint(test.refused) {
					t.Errorf("answer %d: %+v", i, a)
				}
				if !strings.Contains(a.Error, test.says) || strings.ContainsAny(a.Error, "\n\r") || len(a.Error) > 400 {
					t.Errorf("answer %d says %q", i, a.Error)
				}
			}
			if got := r.list(t, Filter{}); len(got) != test.stored {
				t.Errorf("%d sessions, want %d", len(got), test.stored)
			}
		})
	}
}

func TestAWebsocketMessageThatIsTooLongClosesIt(t *testing.T) {
	r := start(t, Command{MaxBody: 1 << 10})
	c := r.dial(t)
	if err := c.Write(t.Context(), 1, bytes.Repeat([]byte(" "), 5000)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "StatusMessageTooBig") {
		t.Fatalf("error %v", err)
	}
}

func TestOnlyWhoShowsTokenAndSignatureMaySend(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, key := file("token", "open sesame\n"), file("key", "k3y\n")
	b := plain(t, rec(1, accesslog.KindEnd, 1))
	bearer := []string{"Authorization", "Bearer open sesame"}
	signed := func(key, id string, body []byte, at time.Time) []string {
		return []string{accesslog.HeaderBatch, id, accesslog.HeaderSignature, accesslog.Sign([]byte(key), at, id, body)}
	}
	now := time.Now()
	tests := []struct {
		name    string
		c       Command
		headers []string
		status  int
		says    string
	}{
		{"the token", Command{TokenFile: token}, bearer, 200, ""},
		{"no token", Command{TokenFile: token}, nil, 401, "no bearer token"},
		{"another token", Command{TokenFile: token}, []string{"Authorization", "Bearer open"}, 401, "wrong bearer token"},
		{"the token as a password", Command{TokenFile: token}, []string{"Authorization", "Basic open sesame"}, 401, "no bearer token"},
		{"the signature", Command{SecretFile: key}, signed("k3y", "b-1", b, now), 200, ""},
		{"the signature of a batch without id", Command{SecretFile: key}, signed("k3y", "", b, now), 200, ""},
		{"no signature", Command{SecretFile: key}, nil, 401, "no Tapedeck-Signature"},
		{"a signature with another key", Command{SecretFile: key}, signed("k", "b-1", b, now), 401, "bad signature"},
		{"a signature of another body", Command{SecretFile: key}, signed("k3y", "b-1", []byte("[]"), now), 401, "bad signature"},
		{"a signature of last year", Command{SecretFile: key}, signed("k3y", "b-1", b, now.AddDate(-1, 0, 0)), 401, "its time is not within 5m0s"},
		{"both", Command{TokenFile: token, SecretFile: key}, append(bearer, signed("k3y", "b", b, now)...), 200, ""},
		{"one of both", Command{TokenFile: token, SecretFile: key}, bearer, 401, "no Tapedeck-Signature"},
		{"a page in a browser", Command{}, []string{"Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site"}, 403, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, test.c)
			a, err := post(t.Context(), http.DefaultClient, r.url, b, test.headers...)
			if test.status == 403 {
				if err == nil || !strings.Contains(err.Error(), "status 403") {
					t.Fatalf("answer %+v, %v", a, err)
				}
			} else if err != nil || a.Status != test.status || !strings.Contains(a.Error, test.says) {
				t.Fatalf("answer %+v, %v", a, err)
			}
			want := 0
			if test.status == 200 {
				want = 1
			}
			if got := r.list(t, Filter{}); len(got) != want {
				t.Fatalf("%d sessions, want %d", len(got), want)
			}
		})
	}
	t.Run("a websocket", func(t *testing.T) {
		r := start(t, Command{TokenFile: token, SecretFile: key})
		resp, err := http.DefaultClient.Do(upgradeRequest(t, r.url, bearer...))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("status %d without a signature", resp.StatusCode)
		}
		c := r.dial(t, append(bearer, signed("k3y", "", nil, now)...)...)
		if a := ask(t, c, b); a.Status != 200 || a.Stored != 1 {
			t.Fatalf("answer %+v", a)
		}
	})
}

func upgradeRequest(t *testing.T, url string, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	headers = append(headers, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

func TestWhatIsNoBatchIsAnsweredToo(t *testing.T) {
	r := start(t, Command{})
	base := strings.TrimSuffix(r.url, "/access")
	for _, test := range []struct {
		method, url string
		status      int
	}{
		{http.MethodGet, base + "/healthz", 200},
		{http.MethodGet, r.url, 405},
		{http.MethodPut, r.url, 405},
		{http.MethodPost, base + "/elsewhere", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.url, resp.StatusCode, test.status)
		}
	}
}

func TestStoppingAnswersWhatCameAndSaysGoodbye(t *testing.T) {
	r := start(t, Command{})
	c := r.dial(t)
	if a := ask(t, c, plain(t, rec(1, accesslog.KindEnd, 1))); a.Status != 200 {
		t.Fatalf("answer %+v", a)
	}
	heard := make(chan error, 1)
	go func() {
		_, _, err := c.Read(t.Context())
		heard <- err
	}()
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-heard; err == nil || !strings.Contains(err.Error(), "the receiver stops") {
		t.Errorf("the websocket ended with %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if _, err := net.Dial("tcp", strings.Split(r.url, "/")[2]); err == nil {
		t.Error("it still listens")
	}
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, test := range []struct {
		c    Command
		says string
	}{
		{Command{}, "db: no file"},
		{Command{DB: "x", Listen: "8480"}, `listen: "8480" is not host:port`},
		{Command{DB: "x", Listen: ":8480"}, "anyone who reaches :8480 could write"},
		{Command{DB: "x", Listen: "[::]:8480"}, "anyone who reaches [::]:8480 could write"},
		{Command{DB: "x", TokenFile: "a", TokenEnv: "b"}, "a file or a variable, not both"},
		{Command{DB: "x", TLSKey: "a"}, "the key the certificate"},
		{Command{DB: "x", MaxBody: 5}, "max body: 5 is not within 1024"},
		{Command{DB: "x", Keep: -time.Second}, "must not be negative"},
	} {
		if err := test.c.Validate(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v", test.c, err)
		}
	}
	for _, c := range []Command{{DB: "x"}, {DB: "x", Listen: "[::1]:0"}, {DB: "x", Listen: "localhost:0"}, {DB: "x", Listen: ":1", NoAuth: true}, {DB: "x", Listen: ":1", SecretEnv: "S"}} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	c := Command{DB: filepath.Join(t.TempDir(), "x"), TokenEnv: "NOT_SET_ANYWHERE"}
	if err := c.Run(t.Context(), Deps{}); err == nil || !strings.Contains(err.Error(), "NOT_SET_ANYWHERE is empty") {
		t.Errorf("an empty token: %v", err)
	}
}
