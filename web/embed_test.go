package web_test

import (
	"io/fs"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/web"
)

func TestTheUnbuiltPageIsAlwaysThere(t *testing.T) {
	files, _ := web.Files()
	page, err := fs.ReadFile(files, web.Unbuilt)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "make build") {
		t.Error("it does not say how to get the page")
	}
}

// What index.html loads must be there, and be nothing that the server's
// Content-Security-Policy would refuse.
func TestIndexLoadsOnlyWhatIsEmbedded(t *testing.T) {
	files, built := web.Files()
	if !built {
		t.Fatal("the page is not built: run `make web` (it needs Node 18 and npm)")
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	loads := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(index), -1)
	if len(loads) < 2 {
		t.Fatalf("index.html loads %d files, want a script and a style sheet at least", len(loads))
	}
	for _, m := range loads {
		if _, err := fs.Stat(files, strings.TrimPrefix(m[1], "/")); err != nil || !strings.HasPrefix(m[1], "/") {
			t.Errorf("index.html loads %q: %v", m[1], err)
		}
	}
	for _, bad := range []string{"<style", " style=", "onclick", "<script>"} {
		if strings.Contains(string(index), bad) {
			t.Errorf("index.html has %q", bad)
		}
	}
}

// The page's own tests: how it reads ahead, jumps, follows, and reads messages.
func TestPage(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "node", "test.mjs").CombinedOutput()
	if err != nil {
		t.Fatalf("%v; it needs Node 18 and web/node_modules, which `make web` fills\n%s", err, out)
	}
	if !strings.Contains(string(out), "# fail 0") {
		t.Fatalf("no summary without failures:\n%s", out)
	}
}
