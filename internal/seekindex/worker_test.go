package seekindex

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func connect(t *testing.T) (*bus.Conn, bus.Layout) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 1, EventsMaxBytes: 16 << 20, UploadsMaxBytes: 16 << 20,
		AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return conn, layout
}

func (s *site) await(t *testing.T, sid string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := Open(t.Context(), s, sid)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no index of %s came: %v", sid, err)
		}
	}
}

// A recording that was there before, and one that is finished while the worker
// runs, get their index; what is no recording gets one that says so.
func TestTheWorkerIndexesWhatIsFinished(t *testing.T) {
	s := newSite(t)
	conn, layout := connect(t)
	records := fixture(t, "htop").records
	s.finish(t, name(1), 1<<20, records)
	if err := s.Put(t.Context(), s.Key("broken.tar"), []byte("no recording at all, and longer than a header"), false); err != nil {
		t.Fatal(err)
	}
	w := NewWorker(&recording.Library{Store: s, Conn: conn, Layout: layout}, s, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.await(t, name(1))

	s.finish(t, name(2), 1<<20, records)
	note, err := json.Marshal(map[string]any{"v": 1, "session": name(2), "key": s.Key(name(2) + ".tar")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.JetStream().Publish(t.Context(), bus.NotifySubject("completed"), note); err != nil {
		t.Fatal(err)
	}
	s.await(t, name(2))
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	for sid, err := range w.Missing(t.Context()) {
		t.Errorf("%s has no index: %v", sid, err)
	}
	x, err := Open(t.Context(), s, "broken")
	if err != nil {
		t.Fatal(err)
	}
	if p := x.Timeline().Problems; len(p) != 1 || p[0].Kind != "corrupt" {
		t.Errorf("of what is no recording: %+v", p)
	}
}

// A lazy site takes its time to give a recording, for as long as somebody waits.
type lazy struct{ *site }

// GetRange is slow.
func (s lazy) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if strings.HasSuffix(key, ".tar") {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.site.GetRange(ctx, key, off, n)
}

// An index that takes longer than the time between two looks for what is missing is made.
func TestCatchingUpCutsNoIndexOff(t *testing.T) {
	s := lazy{newSite(t)}
	conn, layout := connect(t)
	s.finish(t, "long", 1<<20, fixture(t, "htop").records)
	w := NewWorker(&recording.Library{Store: s, Conn: conn, Layout: layout}, s, nil)
	w.every = 200 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.await(t, "long")
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

func TestAnIndexIsMadeAnewWhenItIsNoGood(t *testing.T) {
	s := newSite(t)
	s.finish(t, "again", 1<<20, fixture(t, "htop").records)
	w := NewWorker(&recording.Library{Store: s}, s, nil)
	key := s.Key("again" + Suffix)
	read := func() []byte {
		body, err := s.Store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := w.Ensure(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	good := read()
	for _, at := range []int{11, headerSize + 5, 16 + 8*4 + 7, 60} { // version, timeline, number of events, identity of the recording
		b := bytes.Clone(good)
		b[at]++
		if err := s.Put(t.Context(), key, b, false); err != nil {
			t.Fatal(err)
		}
		x, err := w.Ensure(t.Context(), "again")
		if err != nil || !bytes.Equal(read(), good) {
			t.Fatalf("with byte %d changed: %v", at, err)
		}
		if len(x.Timeline().Keyframes) == 0 {
			t.Error("no keyframes")
		}
	}
	if _, err := w.Ensure(t.Context(), "nobody"); !errors.Is(err, recording.ErrNotFound) {
		t.Errorf("of no session: %v", err)
	}
}

// A long index takes the multipart way, and replaces one that is there.
func TestALongIndexIsStoredWhole(t *testing.T) {
	s := newSite(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), (putWhole+partSize+100)/16)
	f, err := os.Create(filepath.Join(t.TempDir(), "index"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		t.Fatal(err)
	}
	key := s.Key("long" + Suffix)
	for range 2 {
		if err := put(t.Context(), s, key, f, int64(len(body))); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := s.Head(t.Context(), key)
	if err != nil || stored.Size != int64(len(body)) {
		t.Errorf("stored %d bytes of %d: %v", stored.Size, len(body), err)
	}
}

// However much is drawn there are not too many pictures, and the transcript ends
// where it says.
func TestAnIndexIsBounded(t *testing.T) {
	spool, err := os.CreateTemp(t.TempDir(), "spool")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	b := newBuilder(spool)
	b.spacing, b.every = 100, 1<<40
	tp := &tape{t: t}
	for i := range 3 * maxKeyframes {
		tp.print(time.Duration(i)*time.Second, fmt.Appendf(nil, "line %d with some more text behind it\r\n%0100d\r\n", i, i))
		if err := b.take(t.Context(), scan(t, tp.records[0])); err != nil {
			t.Fatal(err)
		}
		tp.records = tp.records[:0]
	}
	if len(b.dir) >= maxKeyframes || len(b.dir) < maxKeyframes/4 || len(b.survey.Activity) > maxBuckets {
		t.Errorf("%d pictures, %d buckets", len(b.dir), len(b.survey.Activity))
	}
	for i := range int64(200_000) {
		b.script.add(i, "some text that is long enough to make a transcript of sixteen megabytes in not too many lines, and more")
	}
	if b.script.text > maxTranscript+maxLine || b.script.omitted == 0 {
		t.Errorf("a transcript of %d bytes with %d lines left out", b.script.text, b.script.omitted)
	}
	for i := range int64(200_000) {
		b.script.add(1_000_000+i*1000, "some text that is long enough to make a transcript of sixteen megabytes in not too many lines, and more")
	}
	if b.script.cutAt == 0 || b.script.text > maxTranscript+maxLine {
		t.Errorf("a transcript of %d bytes that ends at %d ms", b.script.text, b.script.cutAt)
	}
}
