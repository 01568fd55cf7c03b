package webtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The recordings of real programs that the formats are tested with too.
var fixtures = []string{"shell-colours", "vim-unicode-resize", "htop", "flood"}

// fixture imports a fixture and returns its session.
func fixture(t *testing.T, name string) string {
	t.Helper()
	return importFile(t, "fixture-"+name, fixturePath(name))
}

func fixturePath(name string) string {
	return filepath.Join("..", "cast", "testdata", name+".cast")
}

// A castEvent is one of an asciicast v2.
type castEvent struct {
	at         float64 // seconds
	code, data string
}

// readCast reads an asciicast v2 without any code of ours.
func readCast(t *testing.T, name string) (width, height int, events []castEvent) {
	t.Helper()
	data, err := os.ReadFile(fixturePath(name))
	must(t, err)
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	var header struct{ Width, Height int }
	must(t, json.Unmarshal(lines.Bytes(), &header))
	for lines.Scan() {
		var event []any
		must(t, json.Unmarshal(lines.Bytes(), &event))
		events = append(events, castEvent{event[0].(float64), event[1].(string), event[2].(string)})
	}
	must(t, lines.Err())
	return header.Width, header.Height, events
}

// writeCast writes an asciicast into a file.
func writeCast(t *testing.T, cast string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "session.cast")
	must(t, os.WriteFile(path, []byte(cast), 0o600))
	return path
}
