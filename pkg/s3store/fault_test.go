package s3store_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A fault happens to requests that match. It answers the request itself, hands
// it on, or both, and panics with http.ErrAbortHandler to cut the connection.
type fault struct {
	match func(*http.Request) bool
	times int32 // how many of the matching requests it happens to; the others go through
	do    func(w http.ResponseWriter, r *http.Request, store http.Handler)
}

// proxy puts a fault between a Store and the gateway.
func proxy(t *testing.T, opt s3store.Options, f fault) s3store.Options {
	t.Helper()
	to, err := url.Parse(opt.Endpoint)
	must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections) // the gateway waits for them when it stops
	store := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	var seen atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.match(r) && seen.Add(1) <= f.times {
			f.do(w, r, store)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	opt.Endpoint = srv.URL
	return opt
}

// What can go wrong with one request.

func answer(status int, code string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>on purpose</Message></Error>`)
	}
}

func resetInRequest(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.CopyN(io.Discard, r.Body, 100)
	panic(http.ErrAbortHandler)
}

func replyLost(_ http.ResponseWriter, r *http.Request, store http.Handler) {
	store.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func resetInReply(w http.ResponseWriter, r *http.Request, store http.Handler) {
	rec := httptest.NewRecorder()
	store.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	panic(http.ErrAbortHandler)
}

func method(m, query string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == m && (query == "" || r.URL.Query().Has(query))
	}
}

var (
	isPart     = method("PUT", "partNumber")
	isCreate   = method("POST", "uploads")
	isComplete = method("POST", "uploadId")
	isGet      = method("GET", "")
	isPut      = func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.RawQuery == "x-id=PutObject" }
)

// What one call can mend, it mends: the object read back is what went in.
func TestOneFaultIsMended(t *testing.T) {
	embedtest.S3(t)
	tests := []struct {
		name string
		fault
	}{
		{"nothing", fault{match: isPart}},
		{"part: 500", fault{isPart, 1, answer(500, "InternalError")}},
		{"part: 503 twice", fault{isPart, 2, answer(503, "SlowDown")}},
		{"part: connection reset in the body", fault{isPart, 1, resetInRequest}},
		{"part: stored, reply lost", fault{isPart, 1, replyLost}},
		{"part: stored, reply lost twice", fault{isPart, 2, replyLost}},
		{"create: 500", fault{isCreate, 1, answer(500, "InternalError")}},
		{"create: done, reply lost", fault{isCreate, 1, replyLost}},
		{"complete: 500", fault{isComplete, 1, answer(500, "InternalError")}},
		{"complete: 503", fault{isComplete, 1, answer(503, "SlowDown")}},
		{"complete: 200 with an error in it", fault{isComplete, 1, answer(200, "InternalError")}},
		{"complete: done, reply lost", fault{isComplete, 1, replyLost}},
		{"get: 500", fault{isGet, 1, answer(500, "InternalError")}},
		{"get: reset in the body", fault{isGet, 1, resetInReply}},
		{"get: reset in the body twice", fault{isGet, 2, resetInReply}},
		{"put: stored, reply lost", fault{isPut, 1, replyLost}},
		{"put: reset", fault{isPut, 1, resetInRequest}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, proxy(t, embedtest.S3(t), tt.fault))
			body := random(5<<20 + 1)
			key := s.Key("k")
			id, err := s.CreateUpload(t.Context(), key, map[string]string{"nonce": "n"})
			must(t, err)
			p1, err := s.PutPart(t.Context(), key, id, 1, body[:5<<20])
			must(t, err)
			p2, err := s.PutPart(t.Context(), key, id, 2, body[5<<20:])
			must(t, err)
			if _, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{p1, p2}); err != nil && !errors.Is(err, s3store.ErrExists) {
				t.Fatal(err)
			}
			wantObject(t, s, key, body)
			must(t, s.Put(t.Context(), s.Key("m"), body[:10_000], false))
			wantObject(t, s, s.Key("m"), body[:10_000])
		})
	}
}

// What one call cannot mend is an error that says so, and the next call on a
// store that works again is as good as if there had been none.
func TestLastingFaultIsAnErrorAndHarmsNothing(t *testing.T) {
	embedtest.S3(t)
	tests := []struct {
		name string
		fault
		want error
		says string
	}{
		{"part: 503", fault{isPart, 2, answer(503, "SlowDown")}, nil, "put part 1 (1000 bytes): SlowDown: on purpose (status 503), after 2 attempts"},
		{"part: 403", fault{isPart, 1, answer(403, "AccessDenied")}, s3store.ErrRefused, "put part 1 (1000 bytes): refused by the store (check"},
		{"part: upload is gone", fault{isPart, 1, answer(404, "NoSuchUpload")}, s3store.ErrUploadGone, "put part 1 (1000 bytes): upload is gone"},
		{"part: reset", fault{isPart, 2, resetInRequest}, nil, "put part 1 (1000 bytes): "},
		{"part: stored, replies lost", fault{isPart, 2, replyLost}, nil, "put part 1 (1000 bytes): "},
		{"complete: 500", fault{isComplete, 2, answer(500, "InternalError")}, nil, "complete k (1 parts, 1000 bytes): InternalError"},
		{"complete: 200 with an error in it", fault{isComplete, 2, answer(200, "InternalError")}, nil, "complete k (1 parts, 1000 bytes): InternalError"},
		{"complete: 200 with a refusal in it", fault{isComplete, 2, answer(200, "AccessDenied")}, s3store.ErrRefused, "complete k (1 parts, 1000 bytes): refused"},
		{"complete: done, replies lost", fault{isComplete, 2, replyLost}, nil, "complete k (1 parts, 1000 bytes): "},
		{"complete: 200 although nothing was done", fault{isComplete, 1, answer(200, "")}, nil, "no object yet"},
		{"complete: another call is at it", fault{isComplete, 1, answer(409, "ConditionalRequestConflict")}, nil, "ConditionalRequestConflict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			opt := embedtest.S3(t)
			opt.Attempts = 2
			if strings.Contains(tt.says, "no object yet") {
				tt.do = claimDone
			}
			s := open(t, proxy(t, opt, tt.fault))
			body := random(1000)
			id, err := s.CreateUpload(t.Context(), "k", nil)
			must(t, err)
			var part s3store.Part
			calls := func() error {
				if part, err = s.PutPart(t.Context(), "k", id, 1, body); err != nil {
					return err
				}
				_, err = s.CompleteUpload(t.Context(), "k", id, []s3store.Part{part})
				return err
			}
			err = calls()
			if err == nil || !strings.Contains(err.Error(), tt.says) || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Fatalf("error is %v; want %q in it", err, tt.says)
			}
			if strings.Contains(err.Error(), opt.SecretKey) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error shows the secret or has several lines: %v", err)
			}
			if err := calls(); err != nil && !errors.Is(err, s3store.ErrUploadGone) {
				t.Fatalf("on a store that works again: %v", err)
			}
			wantObject(t, s, "k", body)
		})
	}
}

func claimDone(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><Key>k</Key><ETag>"0123456789abcdef0123456789abcdef-1"</ETag></CompleteMultipartUploadResult>`)
}

func TestStoreThatClaimsAnotherObjectIsFoundOut(t *testing.T) {
	s := open(t, proxy(t, embedtest.S3(t), fault{isComplete, 1, claimDone}))
	id, err := s.CreateUpload(t.Context(), "k", nil)
	must(t, err)
	p, err := s.PutPart(t.Context(), "k", id, 1, random(10))
	must(t, err)
	there := random(11)
	must(t, s.Put(t.Context(), "k", there, true))
	if _, err := s.CompleteUpload(t.Context(), "k", id, []s3store.Part{p}); !errors.Is(err, s3store.ErrExists) {
		t.Fatalf("error is %v; want ErrExists", err)
	}
	wantObject(t, s, "k", there)
}

func TestBodyThatBreaksTooOftenIsAnError(t *testing.T) {
	s := open(t, proxy(t, embedtest.S3(t), fault{isGet, 3, resetInReply}))
	want := random(100_000)
	must(t, s.Put(t.Context(), "k", want, true))
	body, err := s.Get(t.Context(), "k")
	must(t, err)
	got, err := io.ReadAll(body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(want, got) {
		t.Errorf("read %d bytes, %v; want what there was, and ErrUnexpectedEOF", len(got), err)
	}
	if _, again := body.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() {
		t.Errorf("then %v; want the same error again", again)
	}
	must(t, body.Close())
}

func TestObjectReplacedWhileItIsReadIsAnError(t *testing.T) {
	var s *s3store.Store
	s = open(t, proxy(t, embedtest.S3(t), fault{isGet, 1, func(w http.ResponseWriter, r *http.Request, store http.Handler) {
		defer func() {
			_ = s.Put(t.Context(), "k", random(100_000), false)
			panic(http.ErrAbortHandler)
		}()
		resetInReply(w, r, store)
	}}))
	must(t, s.Put(t.Context(), "k", random(100_000), true))
	body, err := s.Get(t.Context(), "k")
	must(t, err)
	if _, err := io.ReadAll(body); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("error is %v; want that it was replaced", err)
	}
	must(t, body.Close())
}

func TestStatsCountEveryAttempt(t *testing.T) {
	s := open(t, proxy(t, embedtest.S3(t), fault{isPut, 2, answer(500, "InternalError")}))
	must(t, s.Put(t.Context(), "k", random(1000), true))
	if got := s.Stats(); got.Requests != 3 || got.Failed != 2 || got.Uploaded < 3000 {
		t.Errorf("stats are %+v; want 3 requests, 2 failed, 3000 bytes up", got)
	}
}
