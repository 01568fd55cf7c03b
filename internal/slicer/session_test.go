package slicer

import (
	"bytes"
	"reflect"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A script is messages of one session, numbered as they come.
type script struct {
	t   *testing.T
	s   *session
	seq uint64
	at  time.Time
}

func newScript(t *testing.T) *script {
	return &script{t: t, s: newSession(0, "s"), at: time.Unix(1000, 0)}
}

// message makes the next message: the events with these indexes, framed.
func (c *script) message(size int, indexes ...int64) *input {
	c.seq++
	c.at = c.at.Add(time.Second)
	m := &input{Message: bus.Message{Node: "n1", SID: "s", Seq: c.seq, Time: c.at, Version: 1}}
	for _, i := range indexes {
		m.Payload = slicefmt.AppendFrame(m.Payload, printEvent(c.t, i, noise(uint64(i), size)))
	}
	return m
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}

const noTarget = 1 << 60

func TestReReadsChangeNothing(t *testing.T) {
	c := newScript(t)
	msgs := []*input{c.message(10, 0, 1, 2), c.message(10, 3), c.message(10, 7, 8)}
	late := c.message(10, 20)
	late.Node = "n2"
	end := c.message(10)
	end.Control, end.Count = bus.ControlEnd, 9
	msgs = append(msgs, late, end)
	for _, m := range msgs {
		c.s.apply(m, noTarget)
	}
	was := c.s.live
	for _, m := range msgs {
		if o := c.s.apply(m, noTarget); !o.reread {
			t.Errorf("message %d: %+v", m.Seq, o)
		}
	}
	if !reflect.DeepEqual(was, c.s.live) || len(c.s.closed) != 1 {
		t.Errorf("state was %+v, is %+v", was, c.s.live)
	}
}

// A session that is restored from any of the states it was in, and then given all
// messages again, ends in the same state with the same slices.
func TestStateIsAFunctionOfTheMessages(t *testing.T) {
	build := func() (*script, []*input) {
		c := newScript(t)
		var msgs []*input
		for i := int64(0); i < 60; i += 3 {
			msgs = append(msgs, c.message(30_000, i, i+1, i+2))
		}
		msgs = append(msgs, c.message(10, 70), c.message(10, 70), c.message(10, 65))
		return c, msgs
	}
	const target = 400_000
	whole, msgs := build()
	for _, m := range msgs {
		whole.s.apply(m, target)
	}
	if len(whole.s.closed) < 3 {
		t.Fatalf("%d slices closed", len(whole.s.closed))
	}
	for i, c := range whole.s.closed {
		again := newSession(0, "s")
		again.live = c.snap
		for _, m := range msgs {
			again.apply(m, target)
		}
		rest := whole.s.closed[i+1:]
		if len(again.closed) != len(rest) {
			t.Fatalf("from slice %d: %d slices, want %d", i, len(again.closed), len(rest))
		}
		for j := range rest {
			if again.closed[j].meta != rest[j].meta || !reflect.DeepEqual(again.closed[j].snap, rest[j].snap) {
				t.Errorf("from slice %d: slice %d differs", i, j)
			}
			a, _, _ := again.closed[j].buf.Finish(nil)
			b, _, _ := rest[j].buf.Finish(nil)
			if string(a) != string(b) && j < len(rest) {
				t.Errorf("from slice %d: bytes of slice %d differ", i, j)
			}
			rest[j].buf, again.closed[j].buf = restored(t, b), restored(t, a)
		}
		if !reflect.DeepEqual(again.live, whole.s.live) {
			t.Errorf("from slice %d: state %+v, want %+v", i, again.live, whole.s.live)
		}
	}
}

// restored is a slice with the records of a finished part, to be finished again.
func restored(t *testing.T, part []byte) *slicefmt.Slice {
	t.Helper()
	s := &slicefmt.Slice{}
	r := slicefmt.NewReader(bytes.NewReader(part))
	for {
		rec, err := r.Next()
		if err != nil {
			return s
		}
		if err := s.Append(rec.OneOf); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSlicesEndWhereMessagesEnd(t *testing.T) {
	c := newScript(t)
	next := int64(0)
	for range 40 {
		var idx []int64
		for range 7 {
			idx = append(idx, next)
			next++
		}
		c.s.apply(c.message(20_000, idx...), 300_000)
	}
	for i, x := range c.s.closed {
		if (x.meta.Last+1)%7 != 0 || x.snap.Next != x.meta.Last+1 || x.snap.StreamSeq != x.meta.LastSeq {
			t.Errorf("slice %d ends at %d in the middle of a message", i, x.meta.Last)
		}
	}
}

func TestTenThousandOpenSessionsCostLittle(t *testing.T) {
	const n = 10_000
	event := printEvent(t, 0, noise(1, 2000))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	all := make([]*session, n)
	for i := range all {
		all[i] = newSession(0, "session-"+strconv.Itoa(i))
		m := &input{Message: bus.Message{Node: "n1", SID: all[i].live.SID, Seq: 1, Time: time.Unix(1, 0), Version: 1, Payload: event}}
		all[i].apply(m, noTarget)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes a session", held/n)
	if held > 64<<20 {
		t.Errorf("%d bytes held by %d sessions", held, n)
	}
	runtime.KeepAlive(all)
}

// A message that is refused is a sign of life: a session that begins with one must
// not count as silent since the beginning of time.
func TestRefusedMessagesAreASignOfLife(t *testing.T) {
	c := newScript(t)
	m := c.message(0)
	m.Payload = []byte("not an event")
	if o := c.s.apply(m, noTarget); o.late != latePayload || !c.s.live.Seen.Equal(c.at) {
		t.Errorf("%+v, seen %v", o, c.s.live.Seen)
	}
}

func TestPartsGrowSoThatTenThousandHold600GiB(t *testing.T) {
	c := DefaultConfig()
	var sum int64
	for n := 1; n <= maxPartNumber; n++ {
		sum += c.partTarget(n)
	}
	if c.partTarget(1) != slicefmt.MinPartSize || c.partTarget(maxPartNumber) != c.PartSizeMax || sum>>30 < 590 {
		t.Errorf("%d to %d, %d GiB in all", c.partTarget(1), c.partTarget(maxPartNumber), sum>>30)
	}
}

func TestNumbersOfOwnersNeverMeet(t *testing.T) {
	var u *bus.UploadState
	top := 0
	for _, committed := range []int{3, 0, 0, 1} {
		base := newBase(u)
		if base <= top {
			t.Fatalf("base %d, an earlier owner may use up to %d", base, top)
		}
		now := &bus.UploadState{Base: base, Limit: 4}
		if u != nil {
			now.Highest = u.Highest
		}
		top = max(now.Highest, base-1) + 4
		if committed > 0 {
			now.Highest = base + committed - 1
			top = now.Highest + 4
		}
		u = now
	}
}

func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	c := reflect.ValueOf(DefaultConfig())
	for i := range c.NumField() {
		tag, ok := c.Type().Field(i).Tag.Lookup("default")
		if !ok {
			continue
		}
		var got string
		switch v := c.Field(i).Interface().(type) {
		case time.Duration:
			want, err := time.ParseDuration(tag)
			if err != nil || want != v {
				t.Errorf("%s is %v, the tag says %s", c.Type().Field(i).Name, v, tag)
			}
			continue
		case int64:
			got = strconv.FormatInt(v, 10)
		case int:
			got = strconv.Itoa(v)
		}
		if got != tag {
			t.Errorf("%s is %s, the tag says %s", c.Type().Field(i).Name, got, tag)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty Config is valid")
	}
}
