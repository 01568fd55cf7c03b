package seekindex

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// A tape makes the records of a session.
type tape struct {
	t       testing.TB
	records [][]byte
	next    int64
	offset  int64
}

func (tp *tape) add(at time.Duration, e events.Event, kind string) {
	tp.t.Helper()
	md := &events.Metadata{Index: tp.next, Type: kind, Time: timestamppb.New(epoch.Add(at))}
	m := e.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByNumber(1), protoValue(md))
	o, err := events.Wrap(e)
	if err != nil {
		tp.t.Fatal(err)
	}
	b, err := events.Marshal(o)
	if err != nil {
		tp.t.Fatal(err)
	}
	tp.records = append(tp.records, b)
	tp.next++
}

func (tp *tape) print(at time.Duration, data []byte) {
	tp.add(at, &events.SessionPrint{Data: data, Bytes: int64(len(data)), Offset: tp.offset, DelayMilliseconds: at.Milliseconds()}, "print")
	tp.offset += int64(len(data))
}

func (tp *tape) desktop(at time.Duration, message []byte) {
	tp.add(at, &events.DesktopRecording{Message: message, DelayMilliseconds: at.Milliseconds()}, "desktop.recording")
}

// fixture is a recorded cast as a session.
func fixture(t testing.TB, name string) *tape {
	t.Helper()
	f, err := os.Open(filepath.Join("../cast/testdata", name+".cast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := cast.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	tp := &tape{t: t}
	tp.add(0, &events.SessionStart{User: &events.UserMetadata{User: "joe"}, TerminalSize: cast.FormatSize(h.Width, h.Height, ':')}, "session.start")
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return tp
		}
		if err != nil {
			t.Fatal(err)
		}
		switch at := e.Time.Round(time.Millisecond); e.Code {
		case cast.Output:
			tp.print(at, e.Data)
		case cast.Resize:
			tp.add(at, &events.Resize{TerminalSize: strings.Replace(string(e.Data), "x", ":", 1)}, "resize")
		}
	}
}

// A site is a bucket whose requests are counted.
type site struct {
	*s3store.Store
	ranges, gets atomic.Int64
	read         atomic.Int64 // bytes asked for by range
}

func newSite(t testing.TB) *site {
	t.Helper()
	store, err := s3store.Open(t.Context(), embedtest.S3(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &site{Store: store}
}

// GetRange counts.
func (s *site) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.ranges.Add(1)
	s.read.Add(n)
	return s.Store.GetRange(ctx, key, off, n)
}

// Get counts.
func (s *site) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, key)
}

// A pressing makes a recording of records as they come, part by part.
type pressing struct {
	t     testing.TB
	site  *site
	m     *slicefmt.Manifest
	slice slicefmt.Slice
	part  slicefmt.ManifestPart
	size  int64 // of a part, at least
	store func(part []byte)
}

func press(t testing.TB, s *site, sid string, size int64, store func([]byte)) *pressing {
	key := s.Key(sid + ".tar")
	return &pressing{t: t, site: s, size: size, store: store,
		m: &slicefmt.Manifest{Version: slicefmt.ManifestVersion, Session: sid, Key: key, Outcome: slicefmt.OutcomeComplete, Created: epoch}}
}

func (p *pressing) add(record []byte) {
	p.t.Helper()
	h, err := events.Scan(record)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.slice.Records() == 0 {
		p.part = slicefmt.ManifestPart{FirstIndex: h.Index, FirstEvent: h.Time(), FirstDelay: -1, LastDelay: -1}
	}
	if h.Index > p.m.Count {
		p.m.Gaps = append(p.m.Gaps, slicefmt.Gap{From: p.m.Count, To: h.Index})
		p.m.GapCount, p.m.Missing, p.m.Outcome = p.m.GapCount+1, p.m.Missing+h.Index-p.m.Count, slicefmt.OutcomeGapped
	}
	p.part.LastIndex, p.part.LastEvent, p.m.Count = h.Index, h.Time(), h.Index+1
	p.m.Metadata.Observe(h, record)
	if err := p.slice.Append(record); err != nil {
		p.t.Fatal(err)
	}
	slack := int64(0)
	if p.size >= slicefmt.MinPartSize {
		slack = slicefmt.BlockSize // what is pending may come to less than it counts
	}
	if p.slice.Size() >= p.size+slack {
		p.cut()
	}
}

func (p *pressing) cut() {
	part, sum, err := p.slice.Finish(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.part.Number, p.part.Offset, p.part.Bytes = len(p.m.Parts)+1, p.m.Bytes, sum.Bytes
	p.part.RawBytes, p.part.Records, p.part.SHA256 = sum.RawBytes, sum.Records, sum.SHA256
	p.m.Parts = append(p.m.Parts, p.part)
	p.m.Bytes, p.m.RawBytes, p.m.Events = p.m.Bytes+sum.Bytes, p.m.RawBytes+sum.RawBytes, p.m.Events+sum.Records
	p.store(part)
}

// manifest ends the recording and stores its manifest.
func (p *pressing) manifest() {
	p.t.Helper()
	if p.slice.Records() > 0 {
		p.cut()
	}
	data, err := json.Marshal(p.m)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.site.Put(p.t.Context(), p.site.Key(p.m.Session+".manifest.json"), data, false); err != nil {
		p.t.Fatal(err)
	}
}

// finish puts a recording of records into the bucket.
func (s *site) finish(t testing.TB, sid string, size int64, records [][]byte) *slicefmt.Manifest {
	t.Helper()
	var whole []byte
	p := press(t, s, sid, size, func(part []byte) { whole = append(whole, part...) })
	for _, r := range records {
		p.add(r)
	}
	p.manifest()
	if err := s.Put(t.Context(), p.m.Key, whole, false); err != nil {
		t.Fatal(err)
	}
	return p.m
}

func (s *site) open(t testing.TB, sid string) *recording.Recording {
	t.Helper()
	rec, err := recording.OpenObject(t.Context(), s, sid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rec.Close() })
	if m, err := rec.Manifest(); m == nil {
		t.Fatalf("no manifest: %v", err)
	}
	return rec
}

// index makes the index of a session and opens it.
func (s *site) index(t testing.TB, sid string) *Index {
	t.Helper()
	if _, err := Make(t.Context(), s.open(t, sid), s, sid); err != nil {
		t.Fatal(err)
	}
	x, err := Open(t.Context(), s, sid)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func build(t testing.TB, rec *recording.Recording) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Build(t.Context(), rec, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func name(i int) string { return fmt.Sprintf("session-%d", i) }

func scan(t testing.TB, record []byte) slicefmt.Record {
	t.Helper()
	h, err := events.Scan(record)
	if err != nil {
		t.Fatal(err)
	}
	return slicefmt.Record{OneOf: record, Header: h, Part: 1}
}
