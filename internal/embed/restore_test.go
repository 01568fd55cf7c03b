package embed

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func open(t *testing.T, s *S3) *s3store.Store {
	t.Helper()
	store, err := s3store.Open(t.Context(), s.Options(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// An upload whose completion a kill cut short is completed by the next gateway,
// with the metadata that it was created with, and whichever of the two ways of
// keeping metadata is in use.
func TestUploadThatWasBeingCompletedAtAKillCanBeCompleted(t *testing.T) {
	for _, sidecar := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "a [strange] name")
		if sidecar {
			if err := os.MkdirAll(filepath.Join(dir, "attributes"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		s, err := StartS3(t.Context(), S3Config{Dir: dir, AccessKey: "k", SecretKey: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if s.sidecar != sidecar {
			t.Fatalf("sidecar is %t; want %t", s.sidecar, sidecar)
		}
		store := open(t, s)
		body := make([]byte, 5<<20+10)
		rand.Read(body)
		id, err := store.CreateUpload(t.Context(), "rec/s.tar", map[string]string{"nonce": "n1"})
		if err != nil {
			t.Fatal(err)
		}
		var parts []s3store.Part
		for i, b := range [][]byte{body[:5<<20], body[5<<20:]} {
			p, err := store.PutPart(t.Context(), "rec/s.tar", id, i+1, b)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		s.Stop()

		// What the gateway leaves when it is killed: its first step is done. A part
		// that came late has made the upload's directory anew.
		uploads, err := filepath.Glob(filepath.Join(escape(dir), "buckets/tapedeck/.sgwtmp/multipart/*", id))
		if err != nil || len(uploads) != 1 {
			t.Fatalf("%q, %v; want the upload's directory", uploads, err)
		}
		if err := os.Rename(uploads[0], uploads[0]+".0123-2.inprogress"); err != nil {
			t.Fatal(err)
		}
		ghosts := []string{filepath.Join(uploads[0], "2")}
		if sidecar {
			side := filepath.Join(dir, "attributes", dir, "buckets/tapedeck/.sgwtmp/multipart", filepath.Base(filepath.Dir(uploads[0])), id)
			if err := os.Rename(side, side+".0123-2.inprogress"); err != nil {
				t.Fatal(err)
			}
			ghosts = append(ghosts, filepath.Join(side, "2", "meta", "etag"))
		}
		for _, ghost := range ghosts {
			if err := os.MkdirAll(filepath.Dir(ghost), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(ghost, []byte("late"), 0o600); err != nil {
				t.Fatal(err)
			}
		}

		if s, err = StartS3(t.Context(), S3Config{Dir: dir, AccessKey: "k", SecretKey: "secret"}); err != nil {
			t.Fatal(err)
		}
		store = open(t, s)
		if _, err := store.CompleteUpload(t.Context(), "rec/s.tar", id, parts); err != nil {
			t.Fatalf("sidecar %t: %v", sidecar, err)
		}
		o, err := store.Head(t.Context(), "rec/s.tar")
		if err != nil || o.Meta["nonce"] != "n1" {
			t.Errorf("sidecar %t: %+v, %v; want its metadata", sidecar, o, err)
		}
		rc, err := store.Get(t.Context(), "rec/s.tar")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, body) {
			t.Errorf("sidecar %t: %d bytes, %v", sidecar, len(got), err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
	}
}
