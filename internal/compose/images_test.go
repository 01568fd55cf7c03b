//go:build compose

package compose

import (
	"archive/tar"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// An image as Docker tells of it.
type image struct {
	Size   int64
	Config struct {
		User        string
		Entrypoint  []string
		Labels      map[string]string
		Healthcheck *struct{ Test []string }
	}
}

func TestImagesAreSmallLabelledAndRunAsNobody(t *testing.T) {
	watched := []string{"slicer", "completer", "accesslog"}
	for _, name := range []string{"producer", "slicer", "completer", "accesslog", "tapedeck", "demo", "nats", "s3gw"} {
		ref := "tapedeck/" + name + ":latest"
		out, err := exec.Command("docker", "image", "inspect", ref).Output()
		if err != nil {
			t.Errorf("%s is not there: %v", ref, err)
			continue
		}
		var is []image
		if err := json.Unmarshal(out, &is); err != nil {
			t.Fatal(err)
		}
		i := is[0]
		t.Logf("%-24s %5.1f MB", ref, float64(i.Size)/1e6)
		if small := name == "producer" || slices.Contains(watched, name); small && i.Size >= 40_000_000 {
			t.Errorf("%s has %d bytes; 40 MB are the most", ref, i.Size)
		}
		if i.Config.User != "65532:65532" || !slices.Equal(i.Config.Entrypoint, []string{"/app"}) {
			t.Errorf("%s runs %v as %q", ref, i.Config.Entrypoint, i.Config.User)
		}
		for _, label := range []string{"title", "description", "version", "revision", "source", "licenses"} {
			if i.Config.Labels["org.opencontainers.image."+label] == "" {
				t.Errorf("%s has no label %s", ref, label)
			}
		}
		if h := i.Config.Healthcheck; slices.Contains(watched, name) != (h != nil && slices.Equal(h.Test, []string{"CMD", "/app", "--health"})) {
			t.Errorf("%s is asked for its health by %v", ref, h)
		}
		holds(t, ref)
	}
}

// holds checks what lies in an image: the program, public authorities and little else.
func holds(t *testing.T, ref string) {
	t.Helper()
	id, err := exec.Command("docker", "create", ref).Output()
	if err != nil {
		t.Fatalf("create a container of %s: %v", ref, err)
	}
	container := strings.TrimSpace(string(id))
	defer func() { _ = exec.Command("docker", "rm", "-v", container).Run() }()
	cmd := exec.Command("docker", "export", container)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	authorities := 0
	r := tar.NewReader(stdout)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		top, _, _ := strings.Cut(h.Name, "/")
		if !slices.Contains([]string{"app", "producer", "probe", "etc", "tmp", "data", "dev", "proc", "sys", ".dockerenv"}, top) {
			t.Errorf("%s holds %s", ref, h.Name)
		}
		if h.Name == "etc/ssl/certs/ca-certificates.crt" {
			authorities = countAuthorities(t, r)
		}
	}
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
	if authorities < 50 {
		t.Errorf("%s knows only %d authorities", ref, authorities)
	}
}

func countAuthorities(t *testing.T, r io.Reader) (n int) {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			n++
		}
	}
	return n
}
