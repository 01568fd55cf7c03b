//go:build !linux

package s3store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFS asks for all file systems to be written. Elsewhere than on Linux it
// need not wait until they are.
func syncFS(*os.File) error { return unix.Sync() }
