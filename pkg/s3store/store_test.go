package s3store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/s3store/storetest"
)

func open(t *testing.T, opt s3store.Options) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantObject(t *testing.T, s *s3store.Store, key string, want []byte) {
	t.Helper()
	body, err := s.Get(t.Context(), key)
	must(t, err)
	got, err := io.ReadAll(body)
	must(t, errors.Join(err, body.Close()))
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes that are not the %d that it should have", key, len(got), len(want))
	}
}

func TestEmbeddedGatewayKeepsTheContract(t *testing.T) {
	embedtest.S3(t) // keeps the gateway up from one test to the next
	storetest.Run(t, func(t *testing.T) *s3store.Store {
		opt := embedtest.S3(t)
		opt.Prefix = "pre/fix"
		return open(t, opt)
	})
}

func TestUploadsWorkWithEveryChecksumAndWithSync(t *testing.T) {
	opt := embedtest.S3(t)
	for sum, kept := range map[string]string{"": "crc64nvme:", "auto": "crc64nvme:", "crc64nvme": "crc64nvme:", "crc32c": "crc32c:", "sha256": "sha256:", "md5": "", "none": ""} {
		opt.Checksum, opt.Prefix = sum, "sum-"+sum
		if opt.SyncDir = ""; sum == "auto" { // once: it syncs the machine's disk
			opt.SyncDir = embedtest.S3Dir(t)
		}
		s := open(t, opt)
		key, a, b := s.Key("x"), random(5<<20), random(1000)
		id, err := s.CreateUpload(t.Context(), key, nil)
		must(t, err)
		p1, err := s.PutPart(t.Context(), key, id, 1, a)
		must(t, err)
		p2, err := s.PutPart(t.Context(), key, id, 7, b)
		must(t, err)
		if !strings.HasPrefix(p1.Checksum, kept) || (kept == "") != (p1.Checksum == "") {
			t.Errorf("checksum %q: part has %q; want %s", sum, p1.Checksum, kept)
		}
		if _, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{p1, p2}); err != nil {
			t.Fatalf("checksum %q: %v", sum, err)
		}
		wantObject(t, s, key, append(a, b...))
		must(t, s.Put(t.Context(), s.Key("y"), b, true))
	}
}

func TestCheckBucketSaysWhatToDo(t *testing.T) {
	good := embedtest.S3(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	tests := []struct {
		name   string
		change func(*s3store.Options)
		want   error
		says   string
	}{
		{"no such bucket", func(o *s3store.Options) { o.Bucket = "no-such-bucket" }, s3store.ErrNotFound, "create it"},
		{"wrong secret", func(o *s3store.Options) { o.SecretKey = "wrong-secret" }, s3store.ErrRefused, "check the access key"},
		{"unknown key", func(o *s3store.Options) { o.AccessKey = "wrong-key" }, s3store.ErrRefused, "check the access key"},
		{"nobody there", func(o *s3store.Options) { o.Endpoint = "http://" + ln.Addr().String() }, s3store.ErrUnreachable, "check the endpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opt := good
			tt.change(&opt)
			err := open(t, opt).CheckBucket(t.Context())
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error is %v; want %q and %q in it", err, tt.want, tt.says)
			}
			if strings.Contains(err.Error(), opt.SecretKey) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error shows the secret or has several lines: %v", err)
			}
			t.Log(err)
		})
	}
}

func TestABucketThatIsNotThereIsToldFromAnObject(t *testing.T) {
	opt := embedtest.S3(t)
	_, err := open(t, opt).Get(t.Context(), "k")
	if !errors.Is(err, s3store.ErrNotFound) || errors.Is(err, s3store.ErrNoBucket) {
		t.Errorf("no object: %v", err)
	}
	opt.Bucket = "no-such-bucket"
	s := open(t, opt)
	_, err = s.Get(t.Context(), "k")
	for call, err := range map[string]error{"get": err, "put": s.Put(t.Context(), "k", nil, true), "delete": s.Delete(t.Context(), "k")} {
		if !errors.Is(err, s3store.ErrNotFound) || !errors.Is(err, s3store.ErrNoBucket) {
			t.Errorf("%s without a bucket: %v", call, err)
		}
	}
}

func TestSyncDirMustBeThere(t *testing.T) {
	opt := embedtest.S3(t)
	opt.SyncDir = filepath.Join(t.TempDir(), "none")
	if _, err := s3store.Open(t.Context(), opt, nil); err == nil {
		t.Error("opened with nothing to sync")
	}
}
