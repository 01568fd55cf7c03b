package token

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const fileVersion = 1

// maxFile bounds what is read.
const maxFile = 4 << 20

// contents is what the file says.
type contents struct {
	V      int     `json:"v"`
	Tokens []Token `json:"tokens"`
}

// A File is a file of tokens. Its methods may be called from several goroutines,
// and several processes may change one file.
type File struct {
	path string

	mu    sync.Mutex
	state fileState
	have  []Token
}

// fileState tells one state of the file from another: it is replaced whole.
type fileState struct {
	size  int64
	mtime time.Time
}

// Open names the file. It need not be there yet.
func Open(path string) *File { return &File{path: path} }

// Path is where the file is.
func (f *File) Path() string { return f.path }

// List returns the tokens, by name. There are none if the file is not there.
func (f *File) List() ([]Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return nil, err
	}
	return slices.Clone(f.have), nil
}

// Find returns the token that a secret is, or an error that wraps ErrUnknown. It
// takes as long for a wrong one as for a right one.
func (f *File) Find(secret string) (Token, error) {
	if len(secret) > maxToken {
		return Token{}, ErrUnknown
	}
	tokens, err := f.List()
	if err != nil {
		return Token{}, err
	}
	sum := []byte(hash(secret))
	var found Token
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(sum, []byte(t.SHA256)) == 1 {
			found = t
		}
	}
	if found.Name == "" {
		return Token{}, ErrUnknown
	}
	return found, nil
}

// Named returns the token of a name as it is now, or an error that wraps
// ErrUnknown.
func (f *File) Named(name string) (Token, error) {
	tokens, err := f.List()
	if err != nil {
		return Token{}, err
	}
	for _, t := range tokens {
		if t.Name == name {
			return t, nil
		}
	}
	return Token{}, fmt.Errorf("token %s: %w", name, ErrUnknown)
}

// Add makes a token and returns it, for the only time. With replace one of the
// same name gives way, and is refused from then on; else that is ErrExists.
func (f *File) Add(t Token, replace bool) (string, error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	made := secret()
	t.SHA256, t.Created = hash(made), time.Now().UTC().Truncate(time.Second)
	err := f.change(func(tokens []Token) ([]Token, error) {
		at := slices.IndexFunc(tokens, func(o Token) bool { return o.Name == t.Name })
		if at >= 0 && !replace {
			return nil, fmt.Errorf("add token %s: %w", t.Name, ErrExists)
		}
		if at >= 0 {
			tokens = slices.Delete(tokens, at, at+1)
		}
		return append(tokens, t), nil
	})
	if err != nil {
		return "", err
	}
	return made, nil
}

// Remove takes a token away, or returns an error that wraps ErrUnknown.
func (f *File) Remove(name string) error {
	return f.change(func(tokens []Token) ([]Token, error) {
		left := slices.DeleteFunc(tokens, func(t Token) bool { return t.Name == name })
		if len(left) == len(tokens) {
			return nil, fmt.Errorf("remove token %s: %w", name, ErrUnknown)
		}
		return left, nil
	})
}

// change replaces the file by what edit makes of it. A crash leaves the old file
// or the new one.
func (f *File) change(edit func([]Token) ([]Token, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("change tokens: %w", err)
	}
	lock, err := os.OpenFile(f.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("change tokens: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("change tokens: lock %s: %w", lock.Name(), err)
	}
	f.state = fileState{} // what another process wrote a moment ago may look the same
	if err := f.load(); err != nil {
		return err
	}
	tokens, err := edit(slices.Clone(f.have))
	if err != nil {
		return err
	}
	slices.SortFunc(tokens, func(a, b Token) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	data, err := json.MarshalIndent(contents{fileVersion, tokens}, "", "  ")
	if err != nil {
		return err
	}
	if err := WritePrivate(f.path, append(data, '\n')); err != nil {
		return err
	}
	f.state = fileState{}
	return nil
}

// load reads the file if it is not as it was. A file that others can read is
// refused: whoever may change it chooses who sees recordings.
func (f *File) load() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		f.have, f.state = nil, fileState{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	state := fileState{info.Size(), info.ModTime()}
	if state == f.state {
		return nil
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("read tokens: %s can be read by others than its owner (mode %#o): chmod 600 it, and make new tokens if others may have seen it", f.path, info.Mode().Perm())
	}
	if info.Size() > maxFile {
		return fmt.Errorf("read tokens: %s has %d bytes, at most %d", f.path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	var c contents
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read tokens: %s: %w; restore it, or move it away and make new ones", f.path, err)
	}
	if c.V != fileVersion {
		return fmt.Errorf("read tokens: %s has version %d, this program knows %d", f.path, c.V, fileVersion)
	}
	f.have, f.state = c.Tokens, state
	return nil
}

// WritePrivate replaces a file whole, readable by its owner only.
func WritePrivate(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone by then, unless something failed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
