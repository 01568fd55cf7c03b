package s3store_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	if err := (s3store.Options{Bucket: "recordings"}).Validate(); err != nil {
		t.Errorf("a bucket alone: %v", err)
	}
	err := s3store.Options{
		Bucket: "Nope_", Prefix: "/a//b", Endpoint: "ftp://x", AccessKey: "k", Profile: "p", CAFile: "/does/not/exist",
		SSE: "rot13", SSEKMSKeyID: "id", StorageClass: "a b", Checksum: "crc7", Attempts: 11, ReplyTimeout: -time.Second, SyncDir: "rel",
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{"bucket", "prefix", "endpoint", "access key", "profile", "CA file", "sse \"rot13\"", "kms", "storage class", "checksum", "attempts", "reply timeout", "sync directory"} {
		if n := strings.Count(err.Error(), want); n == 0 {
			t.Errorf("%s is not reported in:\n%v", want, err)
		}
	}
	if len(lines) != 13 {
		t.Errorf("%d lines; want 13:\n%v", len(lines), err)
	}
}

func TestPrefixesAndEndpoints(t *testing.T) {
	for _, o := range []s3store.Options{
		{Prefix: "a/"}, {Prefix: "a/../b"}, {Prefix: "."}, {Prefix: strings.Repeat("x", 513)},
		{Endpoint: "localhost:9000"}, {Endpoint: "http://"}, {Endpoint: "http://a?b"}, {Endpoint: "http://user:secret@a"}, {Endpoint: "http://[secret"},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("prefix %q, endpoint %q was taken", o.Prefix, o.Endpoint)
		} else if strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "[secret") {
			t.Errorf("error shows the secret: %v", err)
		}
	}
}

func TestOptionsNeverShowTheirKeys(t *testing.T) {
	o := s3store.Options{Bucket: "b", AccessKey: "the-access-key", SecretKey: "the-secret-key"}
	wrapped := struct{ S3 s3store.Options }{o}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %+v %#v %s %v %+v %#v", o, o, o, o, wrapped, wrapped, wrapped)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "options", o)
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "options", o)
	if s := b.String(); strings.Contains(s, "the-secret") || strings.Contains(s, "the-access") {
		t.Error(s)
	}
}

func TestOptionsAreFlagsAndEnvironment(t *testing.T) {
	var cli struct {
		S3 s3store.Options `embed:""`
	}
	ca := caFile(t)
	p, err := kong.New(&cli)
	must(t, err)
	_, err = p.Parse(nil) // a command that needs no store is fine without one
	must(t, err)
	t.Setenv("TAPEDECK_S3_SECRET_KEY", "from-env")
	_, err = p.Parse([]string{"--s3-bucket=recordings", "--s3-endpoint=http://x:1", "--s3-path-style", "--s3-access-key=k", "--s3-sse=aws:kms", "--s3-sse-kms-key-id=arn", "--s3-ca-file=" + ca})
	must(t, err)
	want := s3store.Options{
		Bucket: "recordings", Endpoint: "http://x:1", PathStyle: true, AccessKey: "k", SecretKey: "from-env", SSE: "aws:kms", SSEKMSKeyID: "arn", CAFile: ca,
		Checksum: "auto", Attempts: 3, ReplyTimeout: 5 * time.Minute,
	}
	if cli.S3 != want {
		t.Errorf("parsed options differ from those given")
	}
}

// caFile is a file with the certificate of httptest's TLS servers.
func caFile(t *testing.T) string {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	return file
}

// fake is a store that answers every request with one answer.
func fake(t *testing.T, h http.HandlerFunc) s3store.Options {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return s3store.Options{Endpoint: srv.URL, Bucket: "bucket", Prefix: "rec", PathStyle: true, AccessKey: "k", SecretKey: "s", Attempts: 1}
}

func TestLifecycleWarnings(t *testing.T) {
	rule := func(body string) string {
		return "<Rule><ID>r1</ID><Status>Enabled</Status>" + body + "</Rule>"
	}
	const abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
	const expire = "<Expiration><Days>30</Days></Expiration>"
	tests := []struct {
		name  string
		rules string
		want  []string
	}{
		{"no rules", "", nil},
		{"abort everywhere", rule("<Filter></Filter>" + abort), []string{"aborts uploads 7 days"}},
		{"abort under our prefix", rule("<Filter><Prefix>rec/</Prefix></Filter>" + abort), []string{"aborts uploads 7 days"}},
		{"abort under a part of it", rule("<Filter><Prefix>rec/2</Prefix></Filter>" + abort), []string{"aborts uploads 7 days"}},
		{"abort elsewhere", rule("<Filter><Prefix>recovery/</Prefix></Filter>" + abort), nil},
		{"disabled", strings.Replace(rule("<Filter></Filter>"+abort), "Enabled", "Disabled", 1), nil},
		{"expiry with tags", rule("<Filter><And><Prefix>re</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>" + expire), []string{"deletes recordings after 30 days"}},
		{"old form, on a date", rule("<Prefix></Prefix><Expiration><Date>2030-01-02T00:00:00Z</Date></Expiration>"), []string{"deletes recordings on 2030-01-02"}},
		{"both", rule("<Filter></Filter>" + abort + expire), []string{"aborts uploads", "deletes recordings"}},
		{"delete markers only", rule("<Filter></Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `<LifecycleConfiguration>%s</LifecycleConfiguration>`, tt.rules)
			}))
			got, err := s.LifecycleWarnings(t.Context())
			must(t, err)
			if len(got) != len(tt.want) {
				t.Fatalf("warnings are %q; want %q", got, tt.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tt.want[i]) || !strings.Contains(got[i], `"r1"`) {
					t.Errorf("warning is %q; want %q in it", got[i], tt.want[i])
				}
			}
		})
	}
}

func TestStoresWithoutLifecycleGiveNoWarning(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		fine   bool
	}{
		{404, "NoSuchLifecycleConfiguration", true}, {501, "NotImplemented", true}, {405, "MethodNotAllowed", true}, {403, "AccessDenied", false},
	} {
		s := open(t, fake(t, func(w http.ResponseWriter, r *http.Request) { answer(tt.status, tt.code)(w, r, nil) }))
		if got, err := s.LifecycleWarnings(t.Context()); len(got) != 0 || (err == nil) != tt.fine {
			t.Errorf("%s: %q, %v", tt.code, got, err)
		}
	}
}

func TestBucketInAnotherRegionIsNamed(t *testing.T) {
	s := open(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
		w.WriteHeader(http.StatusMovedPermanently)
	}))
	if err := s.CheckBucket(t.Context()); err == nil || !strings.Contains(err.Error(), "it is in region eu-central-1") {
		t.Errorf("error is %v", err)
	}
}

func TestEncryptionAndClassAreAskedFor(t *testing.T) {
	var got http.Header
	opt := fake(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	})
	opt.SSE, opt.SSEKMSKeyID, opt.StorageClass = "aws:kms", "the-key", "STANDARD_IA"
	_, err := open(t, opt).CreateUpload(t.Context(), "k", nil)
	must(t, err)
	for k, want := range map[string]string{
		"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "the-key",
		"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Checksum-Algorithm": "CRC64NVME",
	} {
		if got.Get(k) != want {
			t.Errorf("%s is %q; want %q", k, got.Get(k), want)
		}
	}
}

func TestStoreIsTrustedByItsCAAlone(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	opt := s3store.Options{Endpoint: srv.URL, Bucket: "bucket", PathStyle: true, AccessKey: "k", SecretKey: "s", Attempts: 1}
	if err := open(t, opt).CheckBucket(t.Context()); err == nil {
		t.Error("a server of nobody's was trusted")
	}
	opt.CAFile = caFile(t)
	must(t, open(t, opt).CheckBucket(t.Context()))
}
