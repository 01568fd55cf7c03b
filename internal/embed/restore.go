package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pkg/xattr"
	"github.com/versity/versitygw/backend/meta"
)

// restoreUploads gives uploads that were being completed when the gateway was
// killed their names back. The gateway renames an upload's directory from
// <id> to <id>.<etag>.inprogress while it works on it, answers "done" to
// everybody who asks meanwhile, and never looks at one that it did not finish.
//
// If the kill came after the object was in place, the upload is back beside it:
// completing it again finds the key taken, and the object whole.
func restoreUploads(buckets string, store meta.MetadataStorer) error {
	const tmp, suffix = ".sgwtmp/multipart", ".inprogress"
	stale, err := filepath.Glob(filepath.Join(escape(buckets), "*", tmp, "*", "*"+suffix))
	if err != nil {
		return err
	}
	for _, dir := range stale {
		id, _, _ := strings.Cut(filepath.Base(dir), ".")
		parent := filepath.Dir(dir)
		bucket, _, _ := strings.Cut(strings.TrimPrefix(parent, buckets+"/"), "/")
		hashed := filepath.Join(tmp, filepath.Base(parent))
		// A kill between the two renames leaves either done: both are tried.
		old, now := filepath.Join(hashed, filepath.Base(dir)), filepath.Join(hashed, id)
		if err := store.RenameObject(filepath.Join(buckets, bucket), old, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore upload %s: %w", id, err)
		}
		// A part that came late, while the upload was being completed, has made the
		// directory anew. What counts of it was there before.
		if err := os.RemoveAll(filepath.Join(parent, id)); err != nil {
			return fmt.Errorf("restore upload %s: %w", id, err)
		}
		if err := os.Rename(dir, filepath.Join(parent, id)); err != nil {
			return fmt.Errorf("restore upload %s: %w", id, err)
		}
	}
	return nil
}

// escape makes a path a glob pattern that matches it alone.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// hasXattr tells whether files in dir can have the attributes that the gateway
// keeps an object's metadata in.
func hasXattr(dir string) bool {
	const name = "user.tapedeck.probe"
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	return xattr.FSet(f, name, []byte("1")) == nil
}
