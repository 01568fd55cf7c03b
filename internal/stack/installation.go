package stack

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const installationVersion = 1

// An installation is what a data directory remembers from run to run.
type installation struct {
	V            int    `json:"v"`
	NATSPort     int    `json:"nats_port"`
	S3Port       int    `json:"s3_port"`
	WebPort      int    `json:"web_port,omitempty"`
	NATSUser     string `json:"nats_user"`
	NATSPassword string `json:"nats_password"`
	S3AccessKey  string `json:"s3_access_key"`
	S3SecretKey  string `json:"s3_secret_key"`
}

func installationPath(dir string) string { return filepath.Join(dir, "installation.json") }

// readInstallation returns what the directory remembers, or new credentials and
// no ports if it is new.
func readInstallation(dir string) (installation, error) {
	path := installationPath(dir)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return installation{
			V:        installationVersion,
			NATSUser: "tapedeck", NATSPassword: rand.Text(),
			S3AccessKey: "tapedeck" + rand.Text()[:8], S3SecretKey: rand.Text(),
		}, nil
	}
	if err != nil {
		return installation{}, fmt.Errorf("read the installation: %w", err)
	}
	var in installation
	if err := json.Unmarshal(b, &in); err != nil {
		return in, fmt.Errorf("read %s: %w; restore it, or move it away to get new credentials", path, err)
	}
	if in.V != installationVersion {
		return in, fmt.Errorf("read %s: version %d, this program knows %d; use a newer program", path, in.V, installationVersion)
	}
	return in, nil
}
