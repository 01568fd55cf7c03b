package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// ErrNotRunning means that nothing runs on the data directory.
var ErrNotRunning = errors.New("nothing is running there")

const connectVersion = 1

// A Connect is what connect.json says: how a process of the same user on the
// same machine reaches a running stack. It holds secrets.
type Connect struct {
	V       int       `json:"v"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Metrics string    `json:"metrics,omitempty"` // HOST:PORT of /metrics and /healthz
	NATS    struct {
		URL      string `json:"url"`
		User     string `json:"user"`
		Password string `json:"password"`
	} `json:"nats"`
	S3 struct {
		Endpoint  string `json:"endpoint"`
		Region    string `json:"region"`
		Bucket    string `json:"bucket"`
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
		SyncDir   string `json:"sync_dir"` // what a writer syncs before anything counts as stored
	} `json:"s3"`
	Web string `json:"web,omitempty"` // URL of the page
}

func connectPath(dir string) string { return filepath.Join(dir, "connect.json") }

// ReadConnect reads how to reach the stack that runs on dir. Its error wraps
// [ErrNotRunning] if none does, also when one was killed and left its file.
func ReadConnect(dir string) (Connect, error) {
	var c Connect
	b, err := os.ReadFile(connectPath(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("connect to the installation in %s: %w; start it with: tapedeck up", dir, ErrNotRunning)
	case err != nil:
		return c, fmt.Errorf("connect to the installation in %s: %w", dir, err)
	case !held(dir):
		return c, fmt.Errorf("connect to the installation in %s: %w (it was killed, and left %s); start it with: tapedeck up", dir, ErrNotRunning, connectPath(dir))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("read %s: %w", connectPath(dir), err)
	}
	if c.V != connectVersion {
		return c, fmt.Errorf("read %s: version %d, this program knows %d; use the program that wrote it", connectPath(dir), c.V, connectVersion)
	}
	return c, nil
}

// Bus are the options to connect to the bus with.
func (c Connect) Bus() bus.Options {
	return bus.Options{URL: []string{c.NATS.URL}, User: c.NATS.User, Password: bus.Secret(c.NATS.Password)}
}

// Store are the options to open the object store with.
func (c Connect) Store() s3store.Options {
	return s3store.Options{
		Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket, PathStyle: true,
		AccessKey: c.S3.AccessKey, SecretKey: c.S3.SecretKey, SyncDir: c.S3.SyncDir,
	}
}

func connectOf(i Info) Connect {
	c := Connect{V: connectVersion, PID: i.PID, Started: i.Started, Metrics: i.Metrics}
	c.NATS.URL, c.NATS.User, c.NATS.Password = i.NATS.URL[0], i.NATS.User, string(i.NATS.Password)
	c.S3.Endpoint, c.S3.Region, c.S3.Bucket = i.S3.Endpoint, i.S3.Region, i.S3.Bucket
	c.Web = i.Web.URL
	c.S3.AccessKey, c.S3.SecretKey, c.S3.SyncDir = i.S3.AccessKey, i.S3.SecretKey, i.S3.SyncDir
	return c
}

// writeJSON replaces a file whole: whoever reads it sees the old one or the new
// one, also after the power went. Only its owner can read it.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone by then, unless something failed
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
