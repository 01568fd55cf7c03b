package embed

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend/meta"
)

// attributes are what the gateway keeps beside the bytes of objects, and reads wrong
// in two ways that cost recordings.
//
// It takes an object whose ETag cannot be read for one that is not there, and replaces
// it where it was told not to: here it has an empty one. And it writes the sizes of all
// parts into one attribute, for reading an object by part number, which nobody does. On
// ext4, whose attributes have 4 KiB in all, an object of more than some 600 parts could
// not be completed: here there is no such attribute.
type attributes struct{ meta.MetadataStorer }

// Names of attributes in the gateway.
const (
	attrETag      = "etag"
	attrPartSizes = "mp-metadata"
)

// RetrieveAttribute fails with meta.ErrNoSuchKey if there is no such attribute.
func (a attributes) RetrieveAttribute(f *os.File, bucket, object, attribute string) ([]byte, error) {
	value, err := a.MetadataStorer.RetrieveAttribute(f, bucket, object, attribute)
	if err != nil && attribute == attrETag {
		if info, serr := os.Lstat(filepath.Join(bucket, object)); serr == nil && info.Mode().IsRegular() {
			return nil, nil
		}
	}
	return value, err
}

// StoreAttribute sets an attribute of f, or of the object.
func (a attributes) StoreAttribute(f *os.File, bucket, object, attribute string, value []byte) error {
	if attribute == attrPartSizes {
		return nil
	}
	return a.MetadataStorer.StoreAttribute(f, bucket, object, attribute, value)
}

// A sidecar keeps objects' attributes in files of their own, for file systems whose
// files can have none. As there, what is not there has no attributes: the gateway
// writes those of a new object before the object, and a disk that is full in between
// would leave a key that is taken for ever by nothing.
type sidecar struct {
	meta.SideCar
	dir string
}

func newSidecar(dir string) (sidecar, error) {
	sc, err := meta.NewSideCar(dir)
	return sidecar{sc, dir}, err
}

// RetrieveAttribute fails with meta.ErrNoSuchKey if there is no such attribute.
func (s sidecar) RetrieveAttribute(f *os.File, bucket, object, attribute string) ([]byte, error) {
	if _, err := os.Lstat(filepath.Join(bucket, object)); errors.Is(err, fs.ErrNotExist) {
		return nil, meta.ErrNoSuchKey
	}
	return s.SideCar.RetrieveAttribute(f, bucket, object, attribute)
}

// RenameObject gives an upload's attributes another name, which a part that came late
// may have taken meanwhile.
func (s sidecar) RenameObject(bucket, old, now string) error {
	if _, err := os.Lstat(filepath.Join(s.dir, bucket, old)); err == nil {
		if err := os.RemoveAll(filepath.Join(s.dir, bucket, now)); err != nil {
			return err
		}
	}
	return s.SideCar.RenameObject(bucket, old, now)
}
