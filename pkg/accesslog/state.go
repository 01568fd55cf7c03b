package accesslog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

// A state is the file that lets the next start finish what this one leaves
// behind. It is JSON lines, written before a record can be sent:
//
//	{"state":1}                     the version; first
//	{"sessionId":…}                 a record, as it will be sent
//	{"done":["…"]}                  sessions that need nothing any more: the bus has their end
//	{"at":"2026-01-02T15:04:05Z"}   the tracker ran at this time; every stateTick
//
// The newest record of a session counts. If it is an end, it may not have
// arrived: it is sent again, the same. If it is not, the tracker died before the
// session ended: an end that follows it says so. Both come out the same however
// often a start is killed before it has sent them.
//
// Without a file all methods do nothing.
type state struct {
	path    string
	log     *slog.Logger
	f       *os.File
	lock    *os.File
	size    int64 // of the file
	floor   int64 // what it was when last rewritten
	wrote   time.Time
	failing bool // what was written last is not all there
	buf     []byte
}

const (
	stateVersion = 1
	stateTick    = 10 * time.Second
	stateRoom    = 1 << 20 // growth before it is rewritten
)

// A stateLine is any line of the file.
type stateLine struct {
	Record
	State int       `json:"state"`
	Done  []string  `json:"done"`
	At    time.Time `json:"at"`
}

// openState reads what an earlier tracker left, and hands it to the keeper.
func (t *Tracker) openState() (*state, error) {
	if t.cfg.StateFile == "" {
		return &state{}, nil
	}
	s := &state{path: t.cfg.StateFile, log: t.log, wrote: time.Now()}
	var err error
	if s.lock, err = lockFile(s.path + ".lock"); err != nil {
		return nil, fmt.Errorf("open access state: %w", err)
	}
	if s.f, err = os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		s.close()
		return nil, fmt.Errorf("open access state: %w", err)
	}
	left, err := s.read()
	if err != nil {
		s.close()
		return nil, fmt.Errorf("read access state %s: %w", s.path, err)
	}
	if len(left) > 0 {
		t.log.Info("access sessions of an earlier start are finished", "sessions", len(left), "file", s.path)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]fresh, 0, len(left)+len(t.fresh))
	for _, r := range left {
		all = append(all, fresh{rec: r})
	}
	t.fresh = append(all, t.fresh...)
	return s, nil
}

// read returns the ends that are to be sent, in the order of the file.
func (s *state) read() ([]Record, error) {
	newest := map[string]*Record{}
	var order []string
	var alive time.Time
	bad := 0
	r := bufio.NewReader(s.f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF {
			if len(line) == 0 {
				break
			}
			if err := s.f.Truncate(s.size); err != nil { // torn by the kill; the next line must not go on from it
				return nil, err
			}
			break
		}
		s.size += int64(len(line))
		var l stateLine
		if json.Unmarshal(line, &l) != nil {
			bad++
			continue
		}
		if l.State > stateVersion {
			return nil, fmt.Errorf("version %d is newer than %d", l.State, stateVersion)
		}
		alive = later(alive, later(later(l.At, l.StartedAt), l.EndedAt))
		for _, id := range l.Done {
			delete(newest, id)
		}
		if rec := l.Record; rec.Validate() == nil {
			if newest[rec.SessionID] == nil {
				order = append(order, rec.SessionID)
			}
			newest[rec.SessionID] = &rec
		}
	}
	if bad > 0 {
		s.log.Warn("lines of the access state are unreadable", "file", s.path, "lines", bad)
	}
	return ends(order, newest, alive), nil
}

func ends(order []string, newest map[string]*Record, alive time.Time) []Record {
	var out []Record
	for _, id := range order {
		r := newest[id]
		if r == nil {
			continue
		}
		delete(newest, id)
		if r.Kind != KindEnd {
			r.Kind, r.Reason, r.EndedAt = KindEnd, ReasonReaped, later(r.StartedAt, alive)
			r.Seq++
		}
		out = append(out, *r)
	}
	return out
}

// append writes records and which sessions are done.
func (s *state) append(entries []*entry, done []string) {
	if s.f == nil || s.failing {
		return // full makes it whole again
	}
	now := time.Now()
	if len(entries)+len(done) == 0 && s.size > 0 && now.Sub(s.wrote) < stateTick {
		return
	}
	b := s.buf[:0]
	if s.size == 0 {
		b = fmt.Appendf(b, "{\"state\":%d}\n", stateVersion)
	}
	for _, e := range entries {
		b = append(append(b, e.json...), '\n')
	}
	b = appendState(b, done, now)
	n, err := s.f.Write(b)
	s.size += int64(n)
	s.wrote, s.buf = now, b
	if cap(b) > stateRoom {
		s.buf = nil
	}
	if err != nil {
		s.fail(err)
	}
}

func appendState(b []byte, done []string, now time.Time) []byte {
	if len(done) > 0 {
		ids, _ := json.Marshal(done) // strings
		b = append(append(append(b, `{"done":`...), ids...), "}\n"...)
	}
	return append(now.UTC().AppendFormat(append(b, `{"at":"`...), time.RFC3339Nano), "\"}\n"...)
}

func (s *state) fail(err error) {
	s.failing = true
	s.log.Error("access state not written: a kill now loses sessions", "file", s.path, "err", err)
}

// next is when there is something to do, by the tracker's clock, which is now.
func (s *state) next(now int64) int64 {
	if s.f == nil {
		return never
	}
	return now + int64(max(stateTick-time.Since(s.wrote), time.Millisecond))
}

// full says that the file should be rewritten.
func (s *state) full() bool {
	if s.f == nil {
		return false
	}
	if s.failing {
		return time.Since(s.wrote) >= stateTick
	}
	return s.size > stateRoom+2*s.floor
}

// ok says whether what was appended is in the file.
func (s *state) ok() bool { return s.f != nil && !s.failing }

// rewrite replaces the file by one that holds lines and nothing else. A kill
// leaves the one or the other.
func (s *state) rewrite(lines [][]byte) {
	now := time.Now()
	s.wrote = now
	b := fmt.Appendf(nil, "{\"state\":%d}\n", stateVersion)
	b = append(b, bytes.Join(lines, []byte("\n"))...)
	if len(lines) > 0 {
		b = append(b, '\n')
	}
	b = appendState(b, nil, now)
	f, err := os.OpenFile(s.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		s.fail(err)
		return
	}
	_, err = f.Write(b)
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		s.fail(err)
		return
	}
	_ = s.f.Close()
	s.f, s.size, s.floor, s.failing = f, int64(len(b)), int64(len(b)), false
}

func (s *state) close() {
	if s.f != nil {
		_ = s.f.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close() // and so unlocks it
	}
}

// snapshot is a line for each session that needs state: what is open, and ends
// that the bus does not have.
func (t *Tracker) snapshot() [][]byte {
	t.mu.Lock()
	var recs []Record
	for _, m := range t.due {
		if b, ok := m.owner.(*burst); ok {
			r := b.known(KindAlive)
			r.Seq = b.seq - 1
			recs = append(recs, r)
		}
	}
	for i := range t.fresh {
		if r := t.fresh[i].rec; r.Kind == KindEnd {
			recs = append(recs, r)
		}
	}
	var lines [][]byte
	t.spool.each(func(e *entry) {
		if e.kind == KindEnd {
			lines = append(lines, e.json)
		}
	})
	t.mu.Unlock()
	for i := range recs {
		b, _ := json.Marshal(&recs[i])
		lines = append(lines, b)
	}
	return lines
}
