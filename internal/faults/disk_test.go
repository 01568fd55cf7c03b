package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// What the gateway has answered for is there although the disk is full. Where it becomes
// full while an object is put together there is no object, and the upload waits as it
// was.
func TestAFullDiskCostsNothingThatWasAnsweredFor(t *testing.T) {
	t.Run("attributes of files", func(t *testing.T) { fullGateway(t, false) })
	t.Run("attributes in files", func(t *testing.T) { fullGateway(t, true) })
}

func fullGateway(t *testing.T, sidecar bool) {
	disk := t.TempDir()
	unmount, err := mountSmall(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	if sidecar {
		if err := os.Mkdir(filepath.Join(disk, "attributes"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	gateway, err := embed.StartS3(t.Context(), embed.S3Config{Dir: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Stop)
	opt := gateway.Options()
	opt.Attempts = 1
	store, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })

	first, second := bytes.Repeat([]byte("first"), 1<<20), bytes.Repeat([]byte("second"), 1<<19)
	for _, tt := range []struct {
		name   string
		left   int64
		bodies [][]byte
	}{
		{"no room", 0, [][]byte{first, second}},
		{"no room for a small one", 0, [][]byte{second[:100]}},
		{"room for some of the only part", 1 << 20, [][]byte{first}},
		{"room for some of the first part", 1 << 20, [][]byte{first, second}},
		{"room for the first part", 6 << 20, [][]byte{first, second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := completeWithout(t, store, disk, tt.left, tt.bodies); err == nil {
				t.Error("completed")
			}
		})
	}
	t.Run("parts and objects", func(t *testing.T) { putWithout(t, store, disk) })
	// A small one's body may have room, and what is said of it not, or all of it.
	var broke, done int
	for pages := range int64(24) {
		if err := completeWithout(t, store, disk, pages*4096, [][]byte{second[:100]}); err == nil {
			done++
		} else {
			broke++
		}
	}
	if broke == 0 || done == 0 {
		t.Errorf("%d broke off, %d did not; want some of both", broke, done)
	}
}

// putWithout puts what has no room or just room enough: what is answered for is there.
func putWithout(t *testing.T, store *s3store.Store, disk string) {
	id, err := store.CreateUpload(t.Context(), "parts", nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("body"), 2000)
	var parts []s3store.Part
	var refused int
	for n := range 24 {
		free, err := fillDisk(disk, int64(n)*4096)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("object-%d", n)
		part, perr := store.PutPart(t.Context(), "parts", id, n+1, body)
		oerr := store.Put(t.Context(), key, body, true)
		if err := free(); err != nil {
			t.Fatal(err)
		}
		if perr == nil {
			parts = append(parts, part)
		} else {
			refused++
		}
		if oerr == nil {
			has(t, store, key, body)
		} else if err := store.Put(t.Context(), key, body, true); err != nil {
			t.Errorf("%d pages left before: %v", n, err)
		}
	}
	listed, err := store.ListParts(t.Context(), "parts", id)
	if err != nil || !slices.Equal(listed, parts) {
		t.Errorf("the store has parts %v, %v; answered for %v", listed, err, parts)
	}
	if refused == 0 || len(parts) == 0 {
		t.Errorf("%d parts refused, %d not; want some of both", refused, len(parts))
	}
}

// completeWithout completes an upload while the disk has only so many bytes left, and
// then with room enough. It returns what the first of them came to.
func completeWithout(t *testing.T, store *s3store.Store, disk string, left int64, bodies [][]byte) error {
	t.Helper()
	const key = "rec/s1.tar"
	id, err := store.CreateUpload(t.Context(), key, map[string]string{"nonce": "n1"})
	if err != nil {
		t.Fatal(err)
	}
	var parts []s3store.Part
	for i, body := range bodies {
		part, err := store.PutPart(t.Context(), key, id, i+1, body)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	free, err := fillDisk(disk, left)
	if err != nil {
		t.Fatal(err)
	}
	_, full := store.CompleteUpload(t.Context(), key, id, parts)
	if full != nil {
		if errors.Is(full, s3store.ErrExists) || errors.Is(full, s3store.ErrUploadGone) {
			t.Errorf("%d bytes left: %v, want an error that leaves the upload", left, full)
		}
		if o, err := store.Head(t.Context(), key); !errors.Is(err, s3store.ErrNotFound) {
			t.Errorf("%d bytes left: an object of %d bytes, %v", left, o.Size, err)
		}
	}
	if err := free(); err != nil {
		t.Fatal(err)
	}
	if full != nil {
		if _, err := store.CompleteUpload(t.Context(), key, id, parts); err != nil {
			t.Fatalf("%d bytes left before: %v", left, err)
		}
	}
	whole(t, store, key, bytes.Join(bodies, nil))
	if err := store.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	return full
}

func whole(t *testing.T, store *s3store.Store, key string, want []byte) {
	t.Helper()
	if o, err := store.Head(t.Context(), key); err != nil || o.Meta["nonce"] != "n1" {
		t.Errorf("the object has metadata %v, %v", o.Meta, err)
	}
	has(t, store, key, want)
}

func has(t *testing.T, store *s3store.Store, key string, want []byte) {
	t.Helper()
	body, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: read %d bytes, %v; other than what was put", key, len(got), err)
	}
}
