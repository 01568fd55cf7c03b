package slicefmt

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// twoParts is a manifest with everything in it.
func twoParts() *Manifest {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	return &Manifest{
		Version: 1, Session: "s-1", Key: "recordings/s-1.tar", Outcome: OutcomeGapped,
		Events: 30, Count: 34, Duplicates: 2, Late: 1, Missing: 4, Gaps: []Gap{{5, 7}, {32, 34}}, GapCount: 2,
		Types: map[string]int64{"print": 29, "session.start": 1},
		Bytes: 6_000_100, RawBytes: 9_000_100, ETag: `"abc-2"`, UploadNonce: "n", Created: at(100),
		Metadata: Metadata{Kind: "ssh", User: "joe", Login: "root", Start: at(0), End: at(31), Size: "80:25", Command: []string{"ls"}, Participants: []string{"joe"}},
		Parts: []ManifestPart{
			{Number: 1, Offset: 0, Bytes: 6_000_000, RawBytes: 9_000_000, Records: 20, FirstIndex: 0, LastIndex: 21,
				FirstEvent: at(0), LastEvent: at(21), FirstDelay: 0, LastDelay: 20_000, FirstSequence: 7, LastSequence: 27,
				FirstTime: at(1), LastTime: at(22), SHA256: strings.Repeat("0a", 32), ETag: `"a"`, Checksum: "crc64nvme:AAAAAAAAAAA="},
			{Number: 4, Offset: 6_000_000, Bytes: 100, RawBytes: 100, Records: 10, FirstIndex: 22, LastIndex: 31,
				FirstEvent: at(22), LastEvent: at(31), FirstDelay: -1, LastDelay: -1, SHA256: strings.Repeat("f0", 32)},
		},
	}
}

func withoutEvents() *Manifest {
	return &Manifest{Session: "s-2", Outcome: OutcomeComplete, Created: epoch}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ManifestSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("manifest-1.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("manifest-1.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestManifestComesBackAndFitsItsSchema(t *testing.T) {
	s := schema(t)
	for name, m := range map[string]*Manifest{"two parts": twoParts(), "no events": withoutEvents()} {
		t.Run(name, func(t *testing.T) {
			data, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(doc); err != nil {
				t.Fatal(err)
			}
			got, err := ParseManifest(data)
			if err != nil {
				t.Fatal(err)
			}
			again, err := got.Marshal()
			if err != nil || !bytes.Equal(again, data) {
				t.Fatalf("%v; came back as\n%s\nwent as\n%s", err, again, data)
			}
		})
	}
}

func TestManifestRefusals(t *testing.T) {
	s := schema(t)
	set := func(path string, v any) func(map[string]any) {
		return func(m map[string]any) {
			keys := strings.Split(path, ".")
			for _, k := range keys[:len(keys)-1] {
				if k == "parts" {
					m = m[k].([]any)[1].(map[string]any)
					continue
				}
				m = m[k].(map[string]any)
			}
			m[keys[len(keys)-1]] = v
		}
	}
	tests := []struct {
		name   string
		change func(map[string]any)
		err    error
		schema bool // refuses it too
	}{
		{"a newer version", set("version", 2), ErrVersion, true},
		{"no version", func(m map[string]any) { delete(m, "version") }, ErrVersion, true},
		{"an unknown member", set("colour", "red"), ErrCorrupt, true},
		{"an unknown member of a part", set("parts.colour", "red"), ErrCorrupt, true},
		{"an unknown member of the metadata", set("metadata.colour", "red"), ErrCorrupt, true},
		{"a number as text", set("events", "30"), ErrCorrupt, true},
		{"a time that is none", set("created", "yesterday"), ErrCorrupt, true},
		{"no session", set("session", ""), ErrCorrupt, true},
		{"an unknown outcome", set("outcome", "fine"), ErrCorrupt, true},
		{"parts without a key", set("key", ""), ErrCorrupt, false},
		{"a count below the events", set("count", 29), ErrCorrupt, false},
		{"a count below the last index", set("count", 31), ErrCorrupt, false},
		{"more bytes than the parts have", set("bytes", 6_000_101), ErrCorrupt, false},
		{"more raw bytes than the parts have", set("raw_bytes", 1), ErrCorrupt, false},
		{"fewer events than the parts have", set("events", 29), ErrCorrupt, false},
		{"negative late", set("late", -1), ErrCorrupt, true},
		{"a gap that ends before it begins", set("gaps", []any{map[string]any{"from": 7, "to": 5}}), ErrCorrupt, false},
		{"more gaps than counted", set("gap_count", 1), ErrCorrupt, false},
		{"part number of the one before", set("parts.number", 1), ErrCorrupt, false},
		{"part number 10,001", set("parts.number", 10_001), ErrCorrupt, true},
		{"a hole between parts", set("parts.offset", 6_000_001), ErrCorrupt, false},
		{"a part without bytes", set("parts.bytes", 24), ErrCorrupt, true},
		{"parts that overlap in index", set("parts.first_index", 21), ErrCorrupt, false},
		{"more records than indexes", set("parts.records", 11), ErrCorrupt, false},
		{"a checksum in upper case", set("parts.sha256", strings.Repeat("F0", 32)), ErrCorrupt, true},
		{"a checksum cut short", set("parts.sha256", strings.Repeat("f0", 31)), ErrCorrupt, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := twoParts().Marshal()
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			if data, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
			if _, err := ParseManifest(data); !errors.Is(err, tt.err) {
				t.Fatalf("parsed, or refused with %v", err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(doc); (err != nil) != tt.schema {
				t.Fatalf("the schema says %v", err)
			}
		})
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("{"), "an array": []byte("[]"),
		"two manifests": []byte(`{"version":1}{"version":1}`), "too much": append([]byte(`{"version":1}`), make([]byte, MaxManifest)...),
	} {
		if _, err := ParseManifest(data); err == nil || errors.Is(err, ErrVersion) {
			t.Errorf("%s: parsed, or refused with %v", name, err)
		}
	}
}

func TestManifestThatContradictsItselfIsNotWritten(t *testing.T) {
	m := twoParts()
	m.Bytes++
	if _, err := m.Marshal(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("written, or refused with %v", err)
	}
}

func TestManifestPageNamesEveryMember(t *testing.T) {
	page, err := os.ReadFile("../../docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(ManifestSchema, &doc); err != nil {
		t.Fatal(err)
	}
	members := doc.Properties
	for name := range doc.Defs["part"].Properties {
		members[name] = nil
	}
	if len(members) < 30 {
		t.Fatalf("the schema has %d members", len(members))
	}
	for name := range members {
		if !bytes.Contains(page, []byte("`"+name+"`")) && !bytes.Contains(page, []byte("parts[]."+name)) {
			t.Errorf("docs/manifest.md does not name %q", name)
		}
	}
}

func TestMetadataIsWhatTheEventsSay(t *testing.T) {
	user := &events.UserMetadata{User: "joe", Login: "root"}
	var m Metadata
	for _, b := range [][]byte{
		oneof(t, &events.SessionStart{
			Metadata: metadata(0, "session.start"), User: user, TerminalSize: "80:25", InitialCommand: []string{"top"},
			Server:     &events.ServerMetadata{ServerHostname: "db1", ServerId: "id1", ServerAddr: "10.0.0.1:22"},
			Connection: &events.ConnectionMetadata{RemoteAddr: "192.0.2.1:999"}, Reason: "ticket",
		}),
		printEvent(t, 1, []byte("x")),
		oneof(t, &events.SessionJoin{Metadata: metadata(2, "session.join"), User: &events.UserMetadata{User: "amy"}}),
		unknownEvent(3),
		oneof(t, &events.SessionEnd{Metadata: metadata(4, "session.end"), Participants: []string{"joe", "amy", "bob"}}),
	} {
		h, err := events.Scan(b)
		if err != nil {
			t.Fatal(err)
		}
		m.Observe(h, b)
	}
	got, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"kind":"ssh","user":"joe","login":"root","hostname":"db1","server_id":"id1","server_addr":"10.0.0.1:22",` +
		`"addr":"192.0.2.1:999","cluster":"local","start":"2026-05-04T12:00:00Z","end":"2026-05-04T12:00:04Z","size":"80:25",` +
		`"command":["top"],"participants":["joe","amy","bob"],"reason":"ticket"}`
	if string(got) != want {
		t.Fatalf("metadata\n%s\nwant\n%s", got, want)
	}
}

func TestDesktopMetadata(t *testing.T) {
	b := oneof(t, &events.WindowsDesktopSessionStart{
		Metadata: metadata(0, "windows.desktop.session.start"), User: &events.UserMetadata{User: "joe"},
		WindowsUser: "Administrator", DesktopName: "win1", DesktopAddr: "10.0.0.9:3389",
	})
	h, err := events.Scan(b)
	if err != nil {
		t.Fatal(err)
	}
	var m Metadata
	m.Observe(h, b)
	if m.Kind != "windows_desktop" || m.User != "joe" || m.Login != "Administrator" || m.Hostname != "win1" || m.ServerAddr != "10.0.0.9:3389" {
		t.Fatalf("metadata %+v", m)
	}
}
