//go:build !unix

package accesslog

import "os"

// lockFile has no lock here: whoever starts trackers must keep them apart.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
