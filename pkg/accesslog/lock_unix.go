//go:build unix

package accesslog

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile holds the lock on a file until it is closed, or the process dies.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s (another tracker has it?): %w", path, err)
	}
	return f, nil
}
