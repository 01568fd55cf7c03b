package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse means that another process runs on the data directory.
var ErrInUse = errors.New("data directory is in use")

// A holder is what the lock file says of who holds it.
type holder struct {
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	NATSPort int       `json:"nats_port,omitempty"`
	S3Port   int       `json:"s3_port,omitempty"`
	WebPort  int       `json:"web_port,omitempty"`
}

// A dirLock is held on a data directory. The kernel lets go of it when the
// process ends, however it ends; what the file says is for people.
type dirLock struct{ f *os.File }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// lockDir takes the lock. Somebody who only looks whether it is held holds it
// for a moment, so it is tried for a little while.
func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w; choose one that you can write to", err)
	}
	for range 10 {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		defer f.Close()
		return nil, inUse(f)
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("lock data directory: lock %s: %w", f.Name(), err)
	}
	return &dirLock{f}, nil
}

func inUse(f *os.File) error {
	var h holder
	if err := json.NewDecoder(f).Decode(&h); err != nil {
		return fmt.Errorf("%w: another process holds %s", ErrInUse, f.Name())
	}
	return fmt.Errorf("%w: process %d holds %s since %s (%s ago); use it, stop it, or choose another directory",
		ErrInUse, h.PID, f.Name(), h.Started.Format(time.RFC3339), time.Since(h.Started).Round(time.Second))
}

// say writes into the lock file who holds it.
func (l *dirLock) say(h holder) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := l.f.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := l.f.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// release empties the file and lets go of it. The file stays: removing it could
// take it away from somebody who has opened it to lock it.
func (l *dirLock) release() {
	_ = l.f.Truncate(0)
	_ = l.f.Close()
}

// held tells whether anybody holds the lock of a directory.
func held(dir string) bool {
	f, err := os.Open(lockPath(dir))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
