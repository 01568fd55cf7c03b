package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func orderByNumber(t *testing.T, s *s3store.Store) {
	key := s.Key("order")
	id := create(t, s, key)
	a, b, c := random(minPart), random(minPart+1), random(7)
	last := put(t, s, key, id, 10_000, c)
	first := put(t, s, key, id, 2, a)
	middle := put(t, s, key, id, 977, b)
	etag := complete(t, s, key, id, first, middle, last)
	want := slices.Concat(a, b, c)
	wantObject(t, s, key, want)
	o := ok(s.Head(t.Context(), key))(t)
	if o.Size != int64(len(want)) || o.ETag != etag || o.Key != key || o.Modified.IsZero() {
		t.Errorf("head says %+v; want %d bytes with ETag %s", o, len(want), etag)
	}
}

func samePartAgain(t *testing.T, s *s3store.Store) {
	key := s.Key("again")
	id := create(t, s, key)
	body := random(1000)
	a, b := put(t, s, key, id, 1, body), put(t, s, key, id, 1, body)
	if a != b {
		t.Errorf("first %+v, then %+v", a, b)
	}
	if parts := ok(s.ListParts(t.Context(), key, id))(t); len(parts) != 1 {
		t.Errorf("%d parts; want 1", len(parts))
	}
	complete(t, s, key, id, a)
	wantObject(t, s, key, body)
}

func lastPutWins(t *testing.T, s *s3store.Store) {
	key := s.Key("last")
	id := create(t, s, key)
	old, now := random(1000), random(1001)
	first := put(t, s, key, id, 1, old)
	second := put(t, s, key, id, 1, now)
	_, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{first})
	wantErr(t, err, s3store.ErrBadPart)
	complete(t, s, key, id, second)
	wantObject(t, s, key, now)
}

func unlistedDropped(t *testing.T, s *s3store.Store) {
	key := s.Key("unlisted")
	id := create(t, s, key)
	a, b := random(minPart), random(100)
	p1 := put(t, s, key, id, 1, a)
	put(t, s, key, id, 2, random(minPart))
	p3 := put(t, s, key, id, 3, b)
	put(t, s, key, id, 4, random(50))
	complete(t, s, key, id, p1, p3)
	wantObject(t, s, key, slices.Concat(a, b))
}

func concurrentParts(t *testing.T, s *s3store.Store) {
	key := s.Key("concurrent")
	id := create(t, s, key)
	bodies, parts := make([][]byte, 5), make([]s3store.Part, 5)
	for i := range bodies {
		bodies[i] = random(minPart)
	}
	errs := each(len(bodies), func(i int) (err error) {
		parts[i], err = s.PutPart(t.Context(), key, id, i+1, bodies[i])
		return err
	})
	must(t, errors.Join(errs...))
	complete(t, s, key, id, parts...)
	wantObject(t, s, key, slices.Concat(bodies...))
}

func partNumbers(t *testing.T, s *s3store.Store) {
	key := s.Key("numbers")
	id := create(t, s, key)
	for _, n := range []int{-1, 0, s3store.MaxParts + 1} {
		if _, err := s.PutPart(t.Context(), key, id, n, []byte("x")); err == nil {
			t.Errorf("part %d was taken", n)
		}
	}
	put(t, s, key, id, 1, []byte("x"))
	put(t, s, key, id, s3store.MaxParts, []byte("x"))
}

func bodyNotKept(t *testing.T, s *s3store.Store) {
	key := s.Key("kept")
	id := create(t, s, key)
	body := random(1000)
	want := bytes.Clone(body)
	p := put(t, s, key, id, 1, body)
	clear(body)
	complete(t, s, key, id, p)
	wantObject(t, s, key, want)
}

func listParts(t *testing.T, s *s3store.Store) {
	key := s.Key("parts")
	id := create(t, s, key)
	if parts := ok(s.ListParts(t.Context(), key, id))(t); len(parts) != 0 {
		t.Errorf("a new upload has %d parts", len(parts))
	}
	var want []s3store.Part
	for _, n := range []int{3, 30, 4} {
		want = append(want, put(t, s, key, id, n, random(n)))
	}
	slices.SortFunc(want, func(a, b s3store.Part) int { return a.Number - b.Number })
	if got := ok(s.ListParts(t.Context(), key, id))(t); !slices.Equal(got, want) {
		t.Errorf("listed %+v; want %+v", got, want)
	}
}

func putWithoutUpload(t *testing.T, s *s3store.Store) {
	_, err := s.PutPart(t.Context(), s.Key("none"), "00000000-0000-4000-8000-000000000000", 1, []byte("x"))
	wantErr(t, err, s3store.ErrUploadGone)
}

func putAfterComplete(t *testing.T, s *s3store.Store) {
	key := s.Key("after")
	id := create(t, s, key)
	body := random(10)
	complete(t, s, key, id, put(t, s, key, id, 1, body))
	_, err := s.PutPart(t.Context(), key, id, 2, body)
	wantErr(t, err, s3store.ErrUploadGone)
	_, err = s.PutPart(t.Context(), key, id, 1, body)
	wantErr(t, err, s3store.ErrUploadGone)
	wantObject(t, s, key, body)
}

func goneAfterAbort(t *testing.T, s *s3store.Store) {
	key := s.Key("aborted")
	id := create(t, s, key)
	p := put(t, s, key, id, 1, random(10))
	must(t, s.AbortUpload(t.Context(), key, id))
	_, err := s.ListParts(t.Context(), key, id)
	wantErr(t, err, s3store.ErrUploadGone)
	_, err = s.CompleteUpload(t.Context(), key, id, []s3store.Part{p})
	wantErr(t, err, s3store.ErrUploadGone)
	_, err = s.PutPart(t.Context(), key, id, 1, nil)
	wantErr(t, err, s3store.ErrUploadGone)
}

func abortTwice(t *testing.T, s *s3store.Store) {
	key := s.Key("twice")
	id := create(t, s, key)
	must(t, s.AbortUpload(t.Context(), key, id))
	must(t, s.AbortUpload(t.Context(), key, id))
}

func wrongTag(t *testing.T, s *s3store.Store) {
	key := s.Key("tag")
	id := create(t, s, key)
	body := random(10)
	p := put(t, s, key, id, 1, body)
	bad := p
	bad.ETag = "0123456789abcdef0123456789abcdef"
	_, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{bad})
	wantErr(t, err, s3store.ErrBadPart)
	_, err = s.Head(t.Context(), key)
	wantErr(t, err, s3store.ErrNotFound)
	complete(t, s, key, id, p)
	wantObject(t, s, key, body)
}

func missingPart(t *testing.T, s *s3store.Store) {
	key := s.Key("missing")
	id := create(t, s, key)
	body := random(minPart)
	p := put(t, s, key, id, 1, body)
	absent := p
	absent.Number = 2
	_, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{p, absent})
	wantErr(t, err, s3store.ErrBadPart)
	complete(t, s, key, id, p)
	wantObject(t, s, key, body)
}

func smallPart(t *testing.T, s *s3store.Store) {
	key := s.Key("small")
	id := create(t, s, key)
	a, b := put(t, s, key, id, 1, random(minPart-1)), put(t, s, key, id, 2, random(1))
	_, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{a, b})
	wantErr(t, err, s3store.ErrBadPart)
}

func completeOverObject(t *testing.T, s *s3store.Store) {
	key := s.Key("taken")
	id := create(t, s, key)
	p := put(t, s, key, id, 1, random(20))
	there := random(20)
	must(t, s.Put(t.Context(), key, there, true))
	_, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{p})
	wantErr(t, err, s3store.ErrExists)
	wantObject(t, s, key, there)
}

func completeRace(t *testing.T, s *s3store.Store) {
	key := s.Key("race")
	const n = 4
	ids, bodies, parts := make([]string, n), make([][]byte, n), make([]s3store.Part, n)
	for i := range n {
		ids[i], bodies[i] = create(t, s, key), random(100+i)
		parts[i] = put(t, s, key, ids[i], 1, bodies[i])
	}
	errs := each(n, func(i int) error {
		_, err := s.CompleteUpload(t.Context(), key, ids[i], parts[i:i+1])
		return err
	})
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("uploads %d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, err, s3store.ErrExists)
		}
	}
	if winner < 0 {
		t.Fatal("no upload won")
	}
	wantObject(t, s, key, bodies[winner])
}

func completeAgain(t *testing.T, s *s3store.Store) {
	key := s.Key("redone")
	id := create(t, s, key)
	body := random(30)
	p := put(t, s, key, id, 1, body)
	etag := complete(t, s, key, id, p)
	again, err := s.CompleteUpload(t.Context(), key, id, []s3store.Part{p})
	if err == nil && again != etag {
		t.Errorf("ETag is %s, then %s", etag, again)
	}
	if err != nil && !errors.Is(err, s3store.ErrExists) && !errors.Is(err, s3store.ErrUploadGone) {
		t.Errorf("error is %v; want none, ErrExists or ErrUploadGone", err)
	}
	wantObject(t, s, key, body)
}

func metadata(t *testing.T, s *s3store.Store) {
	key := s.Key("meta")
	want := map[string]string{"tapedeck-nonce": "0aZ_-", "session": "with spaces = and ; , \" %41", "n2": "x"}
	id := ok(s.CreateUpload(t.Context(), key, want))(t)
	complete(t, s, key, id, put(t, s, key, id, 1, []byte("x")))
	got := ok(s.Head(t.Context(), key))(t).Meta
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q; want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("metadata is %q; want %q", got, want)
	}
}

func badMetadata(t *testing.T, s *s3store.Store) {
	for _, m := range []map[string]string{{"Upper": "x"}, {"": "x"}, {"a b": "x"}, {"a": "ü"}, {"a": " x"}, {"a": "x\r\ny: z"}, {"a": string(make([]byte, 4096))}} {
		if _, err := s.CreateUpload(t.Context(), s.Key("bad"), m); err == nil {
			t.Errorf("metadata %q was taken", m)
		}
	}
}

func listUploads(t *testing.T, s *s3store.Store) {
	var want []s3store.Upload
	for i := range 3 {
		key := s.Key(fmt.Sprintf("u/%d", i))
		want = append(want, s3store.Upload{Key: key, ID: create(t, s, key)})
	}
	other := s.Key("v/0")
	create(t, s, other)
	list := func() []s3store.Upload {
		got := collect(t, s.ListUploads(t.Context(), s.Key("u/")), 0)
		for i := range got {
			if got[i].Initiated.IsZero() {
				t.Errorf("upload of %s has no time", got[i].Key)
			}
			got[i].Initiated = want[0].Initiated
		}
		return got
	}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("listed %+v; want %+v", got, want)
	}
	// Several uploads of one key are all listed.
	twin := s3store.Upload{Key: want[1].Key, ID: create(t, s, want[1].Key)}
	if got := list(); len(got) != 4 || !slices.Contains(got, s3store.Upload{Key: twin.Key, ID: twin.ID, Initiated: want[0].Initiated}) {
		t.Errorf("listed %+v; want %+v and %+v", got, want, twin)
	}
	must(t, s.AbortUpload(t.Context(), twin.Key, twin.ID))
	must(t, s.AbortUpload(t.Context(), want[0].Key, want[0].ID))
	complete(t, s, want[2].Key, want[2].ID, put(t, s, want[2].Key, want[2].ID, 1, []byte("x")))
	if got := list(); !slices.Equal(got, want[1:2]) {
		t.Errorf("listed %+v; want %+v", got, want[1:2])
	}
}

func listManyUploads(t *testing.T, s *s3store.Store) {
	const n = 1003
	errs := each(8, func(worker int) error {
		for i := worker; i < n; i += 8 {
			if _, err := s.CreateUpload(t.Context(), s.Key(fmt.Sprintf("many/%04d", i)), nil); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, errors.Join(errs...))
	got := collect(t, s.ListUploads(t.Context(), s.Key("many/")), 0)
	if len(got) != n || !slices.IsSortedFunc(got, func(a, b s3store.Upload) int { return cmpString(a.Key, b.Key) }) {
		t.Errorf("listed %d uploads; want %d in order", len(got), n)
	}
}
