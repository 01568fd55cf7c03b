package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each tapedeck command that a document shows is one that the command line takes.
func TestCommandsInTheDocumentsParse(t *testing.T) {
	docs, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(docs, more...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			found++
			args := strings.Fields(line)
			parser, err := newParser(t.Context(), new(commands), Streams{Out: io.Discard, Err: io.Discard}, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(args); err != nil {
				t.Errorf("%s: tapedeck %s: %v", filepath.Base(path), line, err)
			}
		}
	}
	if found < 8 {
		t.Errorf("%d commands found in the documents, there are more", found)
	}
}

// commandLines is what stands behind bin/tapedeck in the blocks of code.
func commandLines(text string) []string {
	var lines []string
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		rest, ok := strings.CutPrefix(line, "bin/tapedeck ")
		if code && ok {
			rest, _, _ = strings.Cut(rest, " #")
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	return lines
}

var makeTarget = regexp.MustCompile("(?m)^make ([a-z-]+)")

// Each make target that a document shows is in the Makefile.
func TestMakeTargetsInTheDocumentsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		targets := makeTarget.FindAllStringSubmatch(string(text), -1)
		if len(targets) < 2 {
			t.Errorf("%s: %d make targets found, there are more", name, len(targets))
		}
		for _, target := range targets {
			if !strings.Contains(string(makefile), "\n"+target[1]+":") {
				t.Errorf("%s: there is no target %s in the Makefile", name, target[1])
			}
		}
	}
}
