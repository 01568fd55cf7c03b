// Package storetest checks that a store keeps the contracts of [s3store.Store].
// It is for a server that this project has not met: run it against a bucket of
// that server, and what fails is what Tapedeck cannot rely on there.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// minPart is the least that a part which is not the last may have.
const minPart = 5 << 20

// Run checks every sentence of the contracts. open returns a Store of an empty
// bucket, or of an empty prefix, for the test to use alone; every test calls it
// once.
func Run(t *testing.T, open func(t *testing.T) *s3store.Store) {
	tests := []struct {
		name string
		test func(*testing.T, *s3store.Store)
	}{
		{"an upload becomes the bytes of its parts in order of number", orderByNumber},
		{"the same bytes under the same number again give the same tag", samePartAgain},
		{"a number holds what was put last", lastPutWins},
		{"a part that is not listed is dropped", unlistedDropped},
		{"parts can be put at the same time", concurrentParts},
		{"a part number out of range is refused", partNumbers},
		{"the store does not keep the body of a part", bodyNotKept},
		{"the parts listed are the parts put", listParts},
		{"a put into an upload that is not there says it is gone", putWithoutUpload},
		{"a put after completion says the upload is gone", putAfterComplete},
		{"a list or a completion of an aborted upload says it is gone", goneAfterAbort},
		{"an abort of an aborted upload is fine", abortTwice},
		{"a completion with a wrong tag is refused and harms nothing", wrongTag},
		{"a completion with a missing part is refused and harms nothing", missingPart},
		{"a completion with a small part in the middle is refused", smallPart},
		{"a completion over an object is refused and leaves it alone", completeOverObject},
		{"two uploads of one key race and one wins", completeRace},
		{"a completion again does not change the object", completeAgain},
		{"metadata comes back as it went", metadata},
		{"metadata that would not come back is refused", badMetadata},
		{"uploads are listed by prefix until they end", listUploads},
		{"more than a page of uploads is listed whole", listManyUploads},
		{"put, head, get and delete agree", putGetDelete},
		{"what is not there is not found", notFound},
		{"a put if absent leaves what is there", putIfAbsent},
		{"of many puts if absent one wins", putIfAbsentRace},
		{"an empty object is one", emptyObject},
		{"ranges are exact and end where the object does", ranges},
		{"a ReaderAt reads as an io.ReaderAt must", readerAt},
		{"more than a page of objects is listed whole and in order", listMany},
		{"a list starts after a key and ends when its reader has enough", listAfter},
		{"a done context ends every call", contextDone},
		{"the bucket is there", checkBucket},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// random bytes do not compress, repeat or agree by chance.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func ok[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v; want one that wraps %q", err, want)
	}
}

// wantObject reads the object and compares it with want.
func wantObject(t *testing.T, s *s3store.Store, key string, want []byte) {
	t.Helper()
	body := ok(s.Get(t.Context(), key))(t)
	got, err := io.ReadAll(body)
	must(t, errors.Join(err, body.Close()))
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes that are not the %d that it should have", key, len(got), len(want))
	}
}

func create(t *testing.T, s *s3store.Store, key string) string {
	t.Helper()
	return ok(s.CreateUpload(t.Context(), key, nil))(t)
}

func put(t *testing.T, s *s3store.Store, key, id string, n int, body []byte) s3store.Part {
	t.Helper()
	return ok(s.PutPart(t.Context(), key, id, n, body))(t)
}

func complete(t *testing.T, s *s3store.Store, key, id string, parts ...s3store.Part) string {
	t.Helper()
	return ok(s.CompleteUpload(t.Context(), key, id, parts))(t)
}

// collect reads at most limit values of a sequence.
func collect[T any](t *testing.T, seq iter.Seq2[T, error], limit int) []T {
	t.Helper()
	var all []T
	for v, err := range seq {
		must(t, err)
		if all = append(all, v); len(all) == limit {
			break
		}
	}
	return all
}

// each runs f n times at once and waits.
func each(n int, f func(i int) error) []error {
	errs := make([]error, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			errs[i] = f(i)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return errs
}

func checkBucket(t *testing.T, s *s3store.Store) {
	must(t, s.CheckBucket(t.Context()))
	must(t, s.EnsureBucket(t.Context()))
	_, err := s.LifecycleWarnings(t.Context())
	must(t, err)
}

func contextDone(t *testing.T, s *s3store.Store) {
	key := s.Key("done")
	id := create(t, s, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"CreateUpload":   func() error { _, err := s.CreateUpload(ctx, key, nil); return err },
		"PutPart":        func() error { _, err := s.PutPart(ctx, key, id, 1, []byte("x")); return err },
		"ListParts":      func() error { _, err := s.ListParts(ctx, key, id); return err },
		"CompleteUpload": func() error { _, err := s.CompleteUpload(ctx, key, id, nil); return err },
		"AbortUpload":    func() error { return s.AbortUpload(ctx, key, id) },
		"Head":           func() error { _, err := s.Head(ctx, key); return err },
		"Get":            func() error { _, err := s.Get(ctx, key); return err },
		"GetRange":       func() error { _, err := s.GetRange(ctx, key, 0, 1); return err },
		"ReadAt":         func() error { _, err := s.ReaderAt(ctx, key, 1).ReadAt(make([]byte, 1), 0); return err },
		"Put":            func() error { return s.Put(ctx, key, nil, true) },
		"Delete":         func() error { return s.Delete(ctx, key) },
		"CheckBucket":    func() error { return s.CheckBucket(ctx) },
		"List": func() error {
			for _, err := range s.List(ctx, "", "") {
				return err
			}
			return nil
		},
		"ListUploads": func() error {
			for _, err := range s.ListUploads(ctx, "") {
				return err
			}
			return nil
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v; want context.Canceled", name, err)
		}
	}
}
