package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// recorder is the SDK on this installation, as a gateway would use it.
func (in *installation) recorder() *recorder.Recorder {
	in.t.Helper()
	running, err := stack.ReadConnect(in.dir)
	if err != nil {
		in.t.Fatal(err)
	}
	conn, err := bus.Connect(in.t.Context(), running.Bus(), nil)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(conn.Close)
	layout, err := bus.Inspect(in.t.Context(), conn)
	if err != nil {
		in.t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "e2e"})
	if err != nil {
		in.t.Fatal(err)
	}
	return rec
}

// manifest is what `show` has of a finished session.
func (in *installation) manifest(t *testing.T, sid string) *slicefmt.Manifest {
	t.Helper()
	m, err := slicefmt.ParseManifest([]byte(in.must(t, "show", "--format", "json", sid)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A session of 200 MB that does not compress becomes an object of many parts,
// and a range near its end is read without reading what is before it.
func TestRangeNearTheEndOfALargeRecordingReadsTwoPartsAtMost(t *testing.T) {
	in := startInstallation(t)
	sid := uuid.NewString()
	s, err := in.recorder().Start(t.Context(), recorder.Spec{ID: sid, User: "joe", Width: 80, Height: 25})
	if err != nil {
		t.Fatal(err)
	}
	const size, chunk = 200_000_000, 32_000
	random := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, chunk)
	for range size / chunk {
		_, _ = random.Read(buf)
		if _, err := s.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.must(t, "verify", "--wait", "120s", sid)

	m := in.manifest(t, sid)
	if len(m.Parts) < 10 || m.Bytes < size {
		t.Fatalf("%d parts, %d bytes; want an object of many parts and at least %d bytes", len(m.Parts), m.Bytes, size)
	}
	for i, p := range m.Parts {
		if i < len(m.Parts)-1 && p.Bytes < slicefmt.MinPartSize {
			t.Errorf("part %d has %d bytes, under %d", p.Number, p.Bytes, slicefmt.MinPartSize)
		}
	}

	manifestSize := len(in.must(t, "show", "--format", "json", sid))
	twoParts := m.Parts[len(m.Parts)-1].Bytes + m.Parts[len(m.Parts)-2].Bytes
	byTime := m.Parts[len(m.Parts)-1].FirstEvent.Format("2006-01-02T15:04:05.000Z07:00")
	for name, args := range map[string][]string{
		"by index": {"--from", strconv.FormatInt(m.Count-20, 10), "--to", strconv.FormatInt(m.Count-10, 10)},
		"by time":  {"--from", byTime},
	} {
		t.Run(name, func(t *testing.T) {
			lines, downloaded := in.showEvents(t, append([]string{sid}, args...)...)
			if name == "by index" && lines != 10 {
				t.Errorf("%d events, want 10", lines)
			}
			// Listing what is kept beside the recording and checking the bucket cost a little.
			if most := twoParts + int64(manifestSize) + 64<<10; downloaded > most {
				t.Errorf("%d bytes downloaded, want %d at most: the manifest and two parts of %d", downloaded, most, m.Bytes)
			}
			t.Logf("%d events, %d bytes downloaded of %d", lines, downloaded, m.Bytes)
		})
	}
}

var downloadedLine = regexp.MustCompile(`(\d+) requests, (\d+) bytes downloaded in all`)

// showEvents runs show --events and returns how many lines came and what the
// whole command downloaded.
func (in *installation) showEvents(t *testing.T, args ...string) (lines int, downloaded int64) {
	t.Helper()
	cmd := in.command(t.Context(), append([]string{"show", "--events", "--stats"}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	found := downloadedLine.FindStringSubmatch(errs.String())
	if found == nil {
		t.Fatalf("no count of what was downloaded in %q", errs.String())
	}
	downloaded, err := strconv.ParseInt(found[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(out.String(), "\n"), downloaded
}

// What a program writes on its terminal is what the recording has.
func TestRecordedTextIsWhatTheTerminalShowed(t *testing.T) {
	in := startInstallation(t)
	sid := uuid.NewString()
	script := `printf 'Grüße \033[31m世界\033[0m\r\n'; for i in $(seq 1 3000); do echo "line $i"; done; stty size`
	shown := in.must(t, "record", "--pty", "always", "--size", "100x30", "--session-id", sid, "--", "sh", "-c", script)
	in.must(t, "verify", "--wait", "60s", sid)
	if got := in.must(t, "export", sid, "--format", "text"); got != shown {
		t.Errorf("%d bytes exported, %d shown; they end with %q and %q", len(got), len(shown), tail(got), tail(shown))
	}
	if !strings.HasSuffix(shown, "30 100\r\n") {
		t.Errorf("the terminal's size is %q", tail(shown))
	}
	var listed struct{ Session, State string }
	if err := json.Unmarshal([]byte(in.must(t, "ls", "--format", "json")), &listed); err != nil || listed.Session != sid || listed.State != "finished" {
		t.Errorf("ls has %+v, %v", listed, err)
	}
	object := in.exportFile(t, sid)
	strictlyRead(t, object)
	if out, err := exec.Command("python3", "-c", strictReader, object).CombinedOutput(); err != nil {
		t.Errorf("a strict reader that is not ours: %v: %s", err, out)
	}
}

func (in *installation) exportFile(t *testing.T, sid string) string {
	in.t.Helper()
	path := t.TempDir() + "/" + sid + ".tar"
	in.must(t, "export", sid, "--format", "recording", "-o", path)
	return path
}

// strictlyRead holds an object against what the format asks of a writer.
func strictlyRead(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := slicefmt.NewReader(f)
	want := int64(0)
	for {
		rec, err := r.Next()
		if err != nil {
			if want == 0 || fmt.Sprint(err) != "EOF" {
				t.Errorf("after %d records: %v", want, err)
			}
			break
		}
		if rec.Index != want {
			t.Fatalf("index %d, want %d", rec.Index, want)
		}
		want++
	}
	if c := r.Counts(); c.Duplicates+c.Gaps+c.Unknown != 0 {
		t.Errorf("%+v", c)
	}
}

// strictReader reads a recording with nothing of ours: one gzip member a part,
// no padding, nothing after it.
const strictReader = `
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
at, parts, records = 0, 0, 0
while at < len(data):
    version, size, padding = struct.unpack(">QQQ", data[at:at + 24])
    assert version == 1 and size > 0 and padding == 0, (version, size, padding)
    member = zlib.decompressobj(31)
    body = member.decompress(data[at + 24:at + 24 + size])
    assert member.eof and member.unused_data == b"", "not exactly one gzip member"
    while body:
        (n,) = struct.unpack(">I", body[:4])
        assert 0 < n <= 65536 and len(body) >= 4 + n, n
        body, records = body[4 + n:], records + 1
    at, parts = at + 24 + size, parts + 1
    assert at == len(data) or 24 + size >= 5 << 20, "a short part that is not the last"
print(parts, "parts", records, "records")
`
