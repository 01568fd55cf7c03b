package embed

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend/meta"
)

// A sidecar keeps objects' attributes in files of their own, for file systems whose
// files can have none. As there, what is not there has no attributes: the gateway
// writes those of a new object before the object, and a disk that is full in between
// would leave a key that is taken for ever by nothing.
type sidecar struct{ meta.SideCar }

// RetrieveAttribute fails with meta.ErrNoSuchKey if there is no such attribute.
func (s sidecar) RetrieveAttribute(f *os.File, bucket, object, attribute string) ([]byte, error) {
	if _, err := os.Lstat(filepath.Join(bucket, object)); errors.Is(err, fs.ErrNotExist) {
		return nil, meta.ErrNoSuchKey
	}
	return s.SideCar.RetrieveAttribute(f, bucket, object, attribute)
}
