package embed

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/pkg/xattr"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// ext4 has 4 KiB for all attributes of a file: what an object takes of them must not
// grow with its parts.
func TestAttributesOfAnObjectDoNotGrowWithItsParts(t *testing.T) {
	s, dir := withXattr(t)
	store := open(t, s)
	var sizes []int
	for _, n := range []int{1, 4} {
		key := "rec/s.tar"
		id, err := store.CreateUpload(t.Context(), key, map[string]string{"nonce": "n1"})
		if err != nil {
			t.Fatal(err)
		}
		var parts []s3store.Part
		for i := range n {
			p, err := store.PutPart(t.Context(), key, id, i+1, make([]byte, 5<<20))
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		if _, err := store.CompleteUpload(t.Context(), key, id, parts); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "buckets/tapedeck", key)
		names, err := xattr.List(path)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, name := range names {
			value, err := xattr.Get(path, name)
			if err != nil {
				t.Fatal(err)
			}
			total += len(name) + len(value)
		}
		sizes = append(sizes, total)
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if sizes[0] != sizes[1] {
		t.Errorf("attributes take %d bytes with one part, %d with four", sizes[0], sizes[1])
	}
}

// An object that came back from a backup without its attributes is there all the same.
func TestAnObjectWithoutAttributesIsNotReplaced(t *testing.T) {
	s, dir := withXattr(t)
	store := open(t, s)
	if err := store.Put(t.Context(), "k", []byte("first"), true); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "buckets/tapedeck/k")
	names, err := xattr.List(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := xattr.Remove(path, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := store.Put(t.Context(), "k", []byte("second"), true); !errors.Is(err, s3store.ErrExists) {
		t.Errorf("put if absent: %v, want ErrExists", err)
	}
}

// withXattr starts a gateway that keeps attributes with the files.
func withXattr(t *testing.T) (*S3, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := StartS3(t.Context(), S3Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if s.sidecar {
		t.Fatalf("files in %s have no attributes; set TMPDIR to where they have", dir)
	}
	return s, dir
}
