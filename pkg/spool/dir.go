package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultMaxBytes bounds a directory, 1 GiB: what 1,000 interactive sessions of
// 100 bytes of output a second each say in two and a half hours.
const DefaultMaxBytes = 1 << 30

// Errors that a caller can test for.
var (
	ErrFull    = errors.New("spool is full")
	ErrInUse   = errors.New("another process has it open")
	ErrDamaged = errors.New("spool file is damaged")
	ErrVersion = errors.New("spool file is of a newer version")
)

const suffix = ".spool"

// A Dir is a directory of spooled sessions. It is safe for concurrent use, also
// by several processes.
type Dir struct {
	path string
	max  int64

	mu      sync.Mutex
	used    int64     // bytes, all processes' files
	counted time.Time // when they were last counted
}

// recount is how often a Dir looks what other processes have written. In between
// a process knows of its own bytes only, so the bound is overrun by what the
// others write in that time at most.
const recount = time.Second

// OpenDir opens a directory, which it makes if it is not there, for its owner's
// eyes only. max bounds its files, in bytes; 0 stands for DefaultMaxBytes.
func OpenDir(path string, max int64) (*Dir, error) {
	if path == "" {
		return nil, errors.New("open spool: no directory given")
	}
	if max < 0 {
		return nil, fmt.Errorf("open spool %s: a size of %d bytes is none", path, max)
	}
	if max == 0 {
		max = DefaultMaxBytes
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	d := &Dir{path: path, max: max}
	if _, err := os.ReadDir(path); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return d, nil
}

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// A Usage says what a directory holds.
type Usage struct {
	Sessions int   // files
	Bytes    int64 // in them
	Max      int64 // that they may have
}

// Usage counts the files, all processes' included.
func (d *Dir) Usage() (Usage, error) {
	u := Usage{Max: d.max}
	sizes, err := d.sizes()
	for _, n := range sizes {
		u.Sessions++
		u.Bytes += n
	}
	return u, err
}

// Names are the files, oldest first.
func (d *Dir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	type aged struct {
		name string
		at   time.Time
	}
	var files []aged
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), suffix) {
			continue // gone since, or none of ours
		}
		files = append(files, aged{e.Name(), info.ModTime()})
	}
	slices.SortStableFunc(files, func(a, b aged) int { return a.at.Compare(b.at) })
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.name
	}
	return names, nil
}

// NameOf is the file of a session of node.
func NameOf(node, sid string) string { return node + "." + sid + suffix }

func (d *Dir) sizes() (map[string]int64, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("measure spool: %w", err)
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(e.Name(), suffix):
		case err != nil:
			return sizes, fmt.Errorf("measure spool: %w", err)
		default:
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, nil
}

// reserve takes room for n bytes more, or says ErrFull.
func (d *Dir) reserve(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.counted) > recount || d.used+n > d.max && time.Since(d.counted) > recount/10 {
		sizes, err := d.sizes()
		if err != nil {
			return err
		}
		d.used, d.counted = 0, time.Now()
		for _, size := range sizes {
			d.used += size
		}
	}
	if d.used+n > d.max {
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrFull, d.path, d.used, d.max)
	}
	d.used += n
	return nil
}

// release gives room back.
func (d *Dir) release(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = max(0, d.used-n)
}

// sync makes the names of the directory durable.
func (d *Dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // synced, or the error says that it is not
	return f.Sync()
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }
