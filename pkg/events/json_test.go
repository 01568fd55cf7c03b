package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func mustMarshal(tb testing.TB, e Event) []byte {
	tb.Helper()
	o, err := Wrap(e)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

var when = timestamppb.New(time.Date(2021, 11, 18, 15, 33, 59, 792e6, time.UTC))

// golden are lines as they must be, member for member and in this order.
var golden = []struct {
	name string
	opt  JSONOptions
	in   Event
	want string
}{
	{"the start of a session", JSONOptions{}, &SessionStart{
		Metadata: &Metadata{Type: "session.start", Id: "36cee9e9", Code: "T2000I", Time: when, ClusterName: "c"},
		User:     &UserMetadata{User: "joe", Login: "root"},
		Session:  &SessionMetadata{SessionId: "293fda2d"},
		Server: &ServerMetadata{
			ServerNamespace: "default", ServerId: "8045", ServerHostname: "ip-1", ServerAddr: "[::]:3022",
			ServerLabels: map[string]string{"b": "2", "a": "1"},
		},
		Connection: &ConnectionMetadata{RemoteAddr: "50.34.48.113:56902"}, TerminalSize: "80:25",
	}, `{"ei":0,"event":"session.start","uid":"36cee9e9","code":"T2000I","time":"2021-11-18T15:33:59.792Z","cluster_name":"c","user":"joe","login":"root","sid":"293fda2d","namespace":"default","server_id":"8045","server_hostname":"ip-1","server_addr":"[::]:3022","server_labels":{"a":"1","b":"2"},"addr.remote":"50.34.48.113:56902","size":"80:25"}`},
	{"a print", JSONOptions{}, &SessionPrint{
		Metadata:   &Metadata{Index: 3, Type: "print", Time: when, ClusterName: "c"},
		ChunkIndex: 1, Data: []byte("x"), Bytes: 1, DelayMilliseconds: 700, Offset: 40,
	}, `{"ei":3,"event":"print","time":"2021-11-18T15:33:59.792Z","cluster_name":"c","ci":1,"bytes":1,"ms":700,"offset":40}`},
	{"a print with its data", JSONOptions{WithData: true}, &SessionPrint{
		Metadata: &Metadata{Index: 3, Type: "print", Time: when}, Data: []byte("x\xff"),
	}, `{"ei":3,"event":"print","time":"2021-11-18T15:33:59.792Z","ci":0,"data":"eP8=","bytes":0,"ms":0,"offset":0}`},
	{"the end of a session with nothing set", JSONOptions{}, &SessionEnd{
		Metadata: &Metadata{Type: "session.end"},
	}, `{"ei":0,"event":"session.end","time":"0001-01-01T00:00:00Z","user":"","sid":"","server_id":"","enhanced_recording":false,"interactive":false,"participants":[],"session_start":"0001-01-01T00:00:00Z","session_stop":"0001-01-01T00:00:00Z"}`},
	{"numbers of 64 bits are numbers", JSONOptions{}, &SessionData{
		Metadata: &Metadata{Type: "session.data", Index: -1 << 63, Time: when}, BytesTransmitted: 1<<64 - 1,
	}, `{"ei":-9223372036854775808,"event":"session.data","time":"2021-11-18T15:33:59.792Z","user":"","sid":"","server_id":"","tx":18446744073709551615,"rx":0}`},
	{"enums are numbers", JSONOptions{}, &SessionNetwork{
		Metadata: &Metadata{Type: "session.network", Time: when}, User: &UserMetadata{UserKind: UserKind_USER_KIND_BOT},
		Bpf: &BPFMetadata{Pid: 7}, Operation: SessionNetwork_SEND, TcpVersion: 4,
	}, `{"ei":0,"event":"session.network","time":"2021-11-18T15:33:59.792Z","user":"","user_kind":2,"sid":"","server_id":"","pid":7,"cgroup_id":0,"program":"","audit_session_id":0,"src_addr":"","dst_addr":"","dst_port":0,"version":4,"operation":1,"action":0}`},
	{"status, command and resource are flat", JSONOptions{}, &SCP{
		Metadata: &Metadata{Type: "scp", Time: when}, Command: &CommandMetadata{ExitCode: "1", Error: "no"}, Action: "upload",
	}, `{"ei":0,"event":"scp","time":"2021-11-18T15:33:59.792Z","user":"","sid":"","server_id":"","command":"","exitCode":"1","exitError":"no","path":"","action":"upload"}`},
	{"a login", JSONOptions{}, &UserLogin{
		Metadata: &Metadata{Type: "user.login", Time: when},
		User: &UserMetadata{
			User: "joe", TrustedDevice: &DeviceMetadata{OsType: OSType_OS_TYPE_LINUX},
			UserTraits: &LabelValues{Values: map[string]*StringValues{"logins": {Values: []string{"a", "b"}}, "none": {}}},
		},
		IdentityAttributes: &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(1)}},
	}, `{"ei":0,"event":"user.login","time":"2021-11-18T15:33:59.792Z","user":"joe","trusted_device":{"device_id":"","os_type":1},"user_traits":{"logins":["a","b"],"none":[]},"success":false,"attributes":{"n":1}}`},
	{"a resource that expires never", JSONOptions{}, &RoleDelete{
		Metadata: &Metadata{Type: "role.deleted", Time: when}, Resource: &ResourceMetadata{Name: "r"},
	}, `{"ei":0,"event":"role.deleted","time":"2021-11-18T15:33:59.792Z","name":"r","expires":"0001-01-01T00:00:00Z","user":""}`},
	{"attributes of a file, some of them known", JSONOptions{}, &SFTP{
		Metadata: &Metadata{Type: "sftp", Time: when}, Attributes: &SFTPAttributes{FileSize: wrapperspb.UInt64(0), AccessTime: when},
		Action: SFTPAction_SETSTAT,
	}, `{"ei":0,"event":"sftp","time":"2021-11-18T15:33:59.792Z","user":"","sid":"","server_id":"","working_directory":"","path":"","attributes":{"file_size":0,"uid":null,"gid":null,"permissions":null,"access_time":"2021-11-18T15:33:59.792Z"},"action":7}`},
	{"a message of a desktop session", JSONOptions{}, &DesktopRecording{
		Metadata: &Metadata{Type: "desktop.recording", Time: when}, Message: []byte{1, 2}, DelayMilliseconds: 5,
	}, `{"ei":0,"event":"desktop.recording","time":"2021-11-18T15:33:59.792Z","message":"AQI=","ms":5,"tdpb_message":""}`},
	{"an event whose type is not its kind's", JSONOptions{}, &SessionUpload{
		Metadata: &Metadata{Type: "session.start", Time: when},
	}, `{"ei":0,"event":"session.start","time":"2021-11-18T15:33:59.792Z","sid":"","url":"","case":43}`},
}

func TestMarshalJSONWritesTheFlatForm(t *testing.T) {
	for _, tt := range golden {
		t.Run(tt.name, func(t *testing.T) {
			got, err := MarshalJSON(mustMarshal(t, tt.in), tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestJSONRoundTripOfEveryKind(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			for seed := range uint64(40) {
				_, b := sample(t, k, 1-float64(seed)/40, seed)
				checkRoundTrip(t, b)
			}
		})
	}
}

// checkRoundTrip writes a OneOf as JSON, reads that, and expects the same event
// and the same line.
func checkRoundTrip(t *testing.T, b []byte) {
	t.Helper()
	line, err := MarshalJSON(b, JSONOptions{WithData: true})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(line) || bytes.ContainsRune(line, '\n') {
		t.Fatalf("not one line of JSON: %q", line)
	}
	got, err := UnmarshalJSON(line)
	if err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	want, err := Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Fatalf("\n got %v\nwant %v\nby way of %s", got, want, line)
	}
	again, err := Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("\n got %x\nwant %x", again, b)
	}
}

func TestUnknownCasePassesThrough(t *testing.T) {
	b := field(137, field(1, number(1, 4), field(2, []byte("oidc.updated")), field(5, number(1, 9))), field(50, []byte("more")))
	line, err := MarshalJSON(b, JSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"ei":4,"event":"unknown","time":"1970-01-01T00:00:09Z","case":137,"type":"oidc.updated"}`
	if string(line) != want {
		t.Errorf("\n got %s\nwant %s", line, want)
	}
	if _, err := UnmarshalJSON(line); err == nil || !strings.Contains(err.Error(), "raw: missing") {
		t.Errorf("without data: %v", err)
	}
	checkRoundTrip(t, b)
	checkRoundTrip(t, join(field(200, field(1, number(1, 1))), b, field(137, field(1, field(4, []byte("c"))))))

	line, err = MarshalJSON(b, JSONOptions{WithData: true})
	if err != nil {
		t.Fatal(err)
	}
	line = bytes.Replace(line, []byte(`"ei":4`), []byte(`"ei":5`), 1)
	if _, err := UnmarshalJSON(line); err == nil || !strings.Contains(err.Error(), "ei: 5 is not what raw holds") {
		t.Errorf("with another index: %v", err)
	}
}

func TestUnmarshalJSONNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", ``, "ends too soon"},
		{"cut short", `{"ei":0,"event":"print"`, "ends too soon"},
		{"cut short in a value", `{"ei":0,"event":"pri`, "ends too soon"},
		{"no object", `[1]`, "not a JSON object"},
		{"no JSON", `{"ei" 0}`, "malformed JSON"},
		{"two objects", `{"event":"print"}{"event":"print"}`, "something stands behind the object"},
		{"no event type", `{"ei":0}`, "event: missing"},
		{"an event type of no kind", `{"event":"user.update","code":"T1003I"}`, `event: event of an unknown case: "user.update" is no event type`},
		{"an event type that is no string", `{"event":7}`, "event: 7 is no string"},
		{"a member of no kind", `{"event":"print","Ei":3}`, "SessionPrint: Ei: no such member"},
		{"a member of another kind", `{"event":"print","sid":"x"}`, "sid: no such member"},
		{"a nested member of no kind", `{"event":"session.start","trusted_device":{"id":"x"}}`, "trusted_device: id: no such member"},
		{"a member twice", `{"event":"print","ei":1,"ei":2}`, "ei: there twice"},
		{"a nested member twice", `{"event":"session.start","server_labels":{"a":"1","a":"2"}}`, "server_labels: a: there twice"},
		{"an index that is a string", `{"event":"print","ei":"3"}`, `ei: "3" is no whole number of 64 bits`},
		{"an index with a fraction", `{"event":"print","ei":3.0}`, "ei: 3.0 is no whole number"},
		{"an index too large", `{"event":"print","ei":9223372036854775808}`, "ei: 9223372036854775808 is no whole number of 64 bits"},
		{"a number over 32 bits", `{"event":"session.disk","flags":2147483648}`, "flags: 2147483648 is no whole number of 32 bits"},
		{"a number below 0", `{"event":"session.data","tx":-1}`, "tx: -1 is no whole number of 64 bits from 0"},
		{"an enum by name", `{"event":"sftp","action":"OPEN"}`, `action: "OPEN" is no whole number`},
		{"a bool that is a number", `{"event":"session.end","interactive":1}`, "interactive: 1 is neither true nor false"},
		{"a string that is a number", `{"event":"session.start","login":1}`, "login: 1 is no string"},
		{"a list that is a string", `{"event":"session.end","participants":"joe"}`, `participants: "joe" is no list`},
		{"a list with a number in it", `{"event":"session.end","participants":["joe",7]}`, "participants: 1: 7 is no string"},
		{"labels with a list in them", `{"event":"session.start","server_labels":{"a":["b"]}}`, `server_labels: a: ["b"] is no string`},
		{"a time that is a number", `{"event":"print","time":7}`, "time: 7 is no string"},
		{"a time of another form", `{"event":"print","time":"yesterday"}`, `time: "yesterday" is no time in the form of RFC 3339`},
		{"a time before the year 1", `{"event":"print","time":"0001-01-01T00:00:00+01:00"}`, "time: "},
		{"data that is not base64", `{"event":"print","data":"a"}`, "data: not base64"},
		{"attributes that are a list", `{"event":"user.login","attributes":[]}`, "attributes: [] is no object"},
		{"two constraints of one resource", `{"event":"access_request.create","RequestedResourceAccessIDs":[{"aws_console":{},"ssh":{}}]}`, "RequestedResourceAccessIDs: 0: ssh: aws_console is there already"},
		{"bytes that are not UTF-8", "{\"event\":\"session.start\",\"login\":\"\xff\"}", "not UTF-8"},
		{"a case that is no number", `{"event":"print","case":"7"}`, "case: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := UnmarshalJSON([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v, want an error with %q", o, err, tt.want)
			}
		})
	}
	if _, err := UnmarshalJSON([]byte(`{"event":"x"}`)); !errors.Is(err, ErrUnknownCase) {
		t.Errorf("an event type of no kind: %v", err)
	}
}

func TestUnmarshalJSONFillsWhatIsLeftOut(t *testing.T) {
	o, err := UnmarshalJSON([]byte(` { "event": "session.start", "ei": null, "time": "2021-11-18T16:33:59.792+01:00", "size": "80:25" } `))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Unmarshal(mustMarshal(t, &SessionStart{Metadata: &Metadata{Type: "session.start", Time: when}, TerminalSize: "80:25"}))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(o, want) {
		t.Errorf("\n got %v\nwant %v", o, want)
	}
}

func TestMarshalJSONNamesWhatJSONCannotSay(t *testing.T) {
	login := &UserLogin{IdentityAttributes: &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(math.Inf(1))}}}
	for _, tt := range []struct {
		name, want string
		in         []byte
	}{
		{"a time after the year 9999", "time: time of 999999999999 s", mustMarshal(t, &SessionPrint{Metadata: &Metadata{Time: &timestamppb.Timestamp{Seconds: 999999999999}}})},
		{"a number that is not finite", "attributes: ", mustMarshal(t, login)},
		{"no OneOf", "not a OneOf", []byte("text")},
	} {
		if _, err := MarshalJSON(tt.in, JSONOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// jsonSeeds returns the lines that FuzzJSON starts from.
func jsonSeeds(tb testing.TB) [][]byte {
	var lines [][]byte
	for _, g := range golden {
		lines = append(lines, []byte(g.want))
	}
	for _, k := range Kinds() {
		_, b := sample(tb, k, 1, 0)
		line, err := MarshalJSON(b, JSONOptions{WithData: true})
		if err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, line)
	}
	line, err := MarshalJSON(field(137, field(1, number(1, 4))), JSONOptions{WithData: true})
	if err != nil {
		tb.Fatal(err)
	}
	return append(lines, line)
}

func TestNoJSONSeedIsLost(t *testing.T) {
	lines := jsonSeeds(t)
	if want := 12 + 46 + 1; len(lines) != want {
		t.Fatalf("%d seeds, want %d", len(lines), want)
	}
	for _, line := range lines {
		if _, err := UnmarshalJSON(line); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, line := range jsonSeeds(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := UnmarshalJSON(line)
		if err != nil {
			return
		}
		b, err := Marshal(o)
		if err != nil {
			t.Fatalf("encode what was read from %q: %v", line, err)
		}
		checkRoundTrip(t, b)
	})
}

func BenchmarkMarshalJSON(b *testing.B) {
	start, _ := KindByCase(5)
	_, in := sample(b, start, 0.5, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := MarshalJSON(in, JSONOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
