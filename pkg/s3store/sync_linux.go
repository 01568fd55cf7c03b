package s3store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFS waits until the whole file system that f is in has been written.
func syncFS(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
