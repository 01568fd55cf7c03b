package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// A cast is what an asciicast v2 says, read without any code of ours.
type cast struct {
	width, height int
	text          string
	outputs       []float64 // times of the output events
	resizes       []string  // "time size"
	resizeTimes   []float64
}

func readCast(t *testing.T, data []byte) cast {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		t.Fatal("no header")
	}
	var header struct{ Version, Width, Height int }
	if err := json.Unmarshal(lines.Bytes(), &header); err != nil || header.Version != 2 {
		t.Fatalf("header %q: version %d, %v", lines.Text(), header.Version, err)
	}
	c := cast{width: header.Width, height: header.Height}
	var text strings.Builder
	for lines.Scan() {
		var event []any
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || len(event) != 3 {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		at, code, data := event[0].(float64), event[1].(string), event[2].(string)
		switch code {
		case "o":
			text.WriteString(data)
			c.outputs = append(c.outputs, at)
		case "r":
			c.resizes = append(c.resizes, data)
			c.resizeTimes = append(c.resizeTimes, at)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	c.text = text.String()
	return c
}

func TestFixturesComeBackAsTheyWere(t *testing.T) {
	in := startInstallation(t)
	fixtures, err := filepath.Glob("../cast/testdata/*.cast")
	if err != nil || len(fixtures) < 4 {
		t.Fatalf("%d fixtures, %v; want the 4 recordings of real programs", len(fixtures), err)
	}
	for _, path := range fixtures {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sid := uuid.NewString()
			in.must(t, "import", "--session-id", sid, path)
			in.must(t, "verify", "--wait", "60s", sid)
			want, got := readCast(t, data), readCast(t, []byte(in.must(t, "export", sid, "--format", "cast2")))
			if got.text != want.text {
				t.Errorf("text differs: %d bytes, want %d", len(got.text), len(want.text))
			}
			if got.width != want.width || got.height != want.height {
				t.Errorf("size %dx%d, want %dx%d", got.width, got.height, want.width, want.height)
			}
			if strings.Join(got.resizes, " ") != strings.Join(want.resizes, " ") {
				t.Errorf("resizes %q, want %q", got.resizes, want.resizes)
			}
			sameTimes(t, "output", got.outputs, want.outputs)
			sameTimes(t, "resize", got.resizeTimes, want.resizeTimes)
		})
	}
}

// sameTimes compares to the millisecond.
func sameTimes(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d %s events, want %d", len(got), what, len(want))
		return
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 0.001 {
			t.Errorf("%s %d at %f s, want %f", what, i, got[i], want[i])
			return
		}
	}
}
