package faults

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// smallDisk is the size of a disk that is to become full.
const smallDisk = 64 << 20

// mountSmall mounts a small file system of its own at dir. It takes root, if only of
// a namespace: see [BeRoot].
func mountSmall(dir string) (unmount func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk)); err != nil {
		return nil, fmt.Errorf("mount a tmpfs at %s: %w (root may, and who may make user namespaces; a disk can be filled only if it is small)", dir, err)
	}
	return func() error {
		// Who had files there has just been killed.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := syscall.Unmount(dir, 0)
			if err == nil || time.Now().After(end) {
				return err
			}
		}
	}, nil
}

// fillDisk leaves no more than left bytes of the disk at dir, and returns what gives
// the rest back.
func fillDisk(dir string, left int64) (free func() error, err error) {
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	var n int64
	for {
		k, err := f.Write(block)
		n += int64(k)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, io.ErrShortWrite) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if err := f.Truncate(max(n-left, 0)); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(name) }, nil
}
