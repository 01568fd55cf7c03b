package accesslog_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ended is a session of one second that began second seconds after the epoch.
func ended(i, second int) accesslog.Record {
	at := epoch.Add(time.Duration(second) * time.Second)
	return accesslog.Record{
		SessionID: fmt.Sprintf("%016x", i), ResourceID: 7, SourceAddr: fmt.Sprintf("[2001:db8::1]:%d", 1024+i), DestAddr: "10.0.0.1:443",
		Protocol: accesslog.TCP, StartedAt: at, EndedAt: at.Add(time.Second), BytesTx: 100, BytesRx: 1000,
		Kind: accesslog.KindEnd, Reason: accesslog.ReasonClosed, Node: "n", Seq: 1,
	}
}

func TestBatchOfTheFieldIsReadAsItIs(t *testing.T) {
	const batch = `[{"sessionId":"00000000000000aa","resourceId":42,"sourceAddr":"100.90.128.1:5000","destAddr":"192.168.1.5:22",
		"protocol":"tcp","startedAt":"2026-01-02T03:04:05.678+02:00","endedAt":"0001-01-01T00:00:00Z","bytesTx":0,"bytesRx":0,"future":[1]},
		{"sessionId":"00000000000000ab","resourceId":42,"sourceAddr":"100.90.128.1","destAddr":"192.168.1.5:22",
		"protocol":"udp","startedAt":"2026-01-02T03:04:05Z","endedAt":"2026-01-02T03:04:06Z","bytesTx":1,"bytesRx":2,"connectionCount":3}]`
	recs, err := accesslog.ParseRecords([]byte(batch))
	if err != nil || len(recs) != 2 {
		t.Fatal(recs, err)
	}
	if recs[0].Ended() || recs[0].Connections() != 1 || recs[0].StartedAt.UTC().Hour() != 1 {
		t.Errorf("%+v", recs[0])
	}
	if !recs[1].Ended() || recs[1].Connections() != 3 {
		t.Errorf("%+v", recs[1])
	}
}

func TestFieldRecordHasTheFieldsMembersAndNoOthers(t *testing.T) {
	r := ended(1, 0)
	r.User = "alice"
	b, err := accesslog.MarshalRecords([]accesslog.Record{r.Field()})
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"sessionId": "0000000000000001", "resourceId": 7.0, "sourceAddr": "[2001:db8::1]:1025", "destAddr": "10.0.0.1:443", "protocol": "tcp",
		"startedAt": "2026-03-01T12:00:00Z", "endedAt": "2026-03-01T12:00:01Z", "bytesTx": 100.0, "bytesRx": 1000.0,
	}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %v", got[0])
	}
}

func TestGoodRecordsOfABadBatchAreKept(t *testing.T) {
	good, _ := json.Marshal(ended(1, 0))
	g := string(good)
	tests := []struct {
		name, json string
		kept       int
		want       error
		says       string
	}{
		{"empty", `[]`, 0, nil, ""},
		{"all good", `[` + g + `,` + g + `]`, 2, nil, ""},
		{"without an id", `[` + g + `,{"resourceId":1},` + g + `]`, 2, accesslog.ErrRecords, "record 1: no sessionId"},
		{"of wrong type", `[7,` + g + `]`, 1, accesslog.ErrRecords, "record 0"},
		{"a number as text", `[` + g + `,` + strings.Replace(g, `"bytesTx":100`, `"bytesTx":"100"`, 1) + `]`, 1, accesslog.ErrRecords, "bytesTx"},
		{"negative bytes", `[` + strings.Replace(g, `"bytesTx":100`, `"bytesTx":-1`, 1) + `,` + g + `]`, 1, accesslog.ErrRecords, "bytesTx: -1"},
		{"a time that is none", `[` + strings.Replace(g, `"startedAt":"2026`, `"startedAt":"x`, 1) + `,` + g + `]`, 1, accesslog.ErrRecords, "record 0"},
		{"unknown kind", `[` + strings.Replace(g, `"kind":"end"`, `"kind":"pause"`, 1) + `,` + g + `]`, 1, accesslog.ErrRecords, "pause"},
		{"an id with a newline", `[` + strings.Replace(g, `"0000000000000001"`, `"a\nb"`, 1) + `,` + g + `]`, 1, accesslog.ErrRecords, "sessionId"},
		{"broken off", `[` + g + `,{"sess`, 1, accesslog.ErrCorrupt, "record 1"},
		{"not closed", `[` + g, 1, accesslog.ErrCorrupt, "end of the array"},
		{"no comma", `[` + g + g + `]`, 1, accesslog.ErrCorrupt, ""},
		{"more after the array", `[` + g + `]]`, 1, accesslog.ErrCorrupt, "after the array"},
		{"an object", g, 0, accesslog.ErrCorrupt, "not a JSON array"},
		{"null", `null`, 0, accesslog.ErrCorrupt, "not a JSON array"},
		{"nothing", ``, 0, accesslog.ErrCorrupt, "not a JSON array"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recs, err := accesslog.ParseRecords([]byte(test.json))
			if len(recs) != test.kept || !errors.Is(err, test.want) || test.want != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%d records, %v", len(recs), err)
			}
			if list, ok := errors.AsType[*accesslog.RecordsError](err); ok && (list.Good != test.kept || len(list.Bad) != 1) {
				t.Errorf("%+v", list)
			}
		})
	}
}

func TestDamagedBatchIsAClearError(t *testing.T) {
	var recs []accesslog.Record
	for i := range 100 {
		recs = append(recs, ended(i, i))
	}
	whole, err := accesslog.EncodeBatch(recs)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := accesslog.EncodeBatch(recs)
	if back, err := accesslog.DecodeBatch(whole, accesslog.Limits{}); err != nil || !slices.Equal(back, recs) || again != whole {
		t.Fatalf("%d records, %v", len(back), err)
	}
	z, _ := base64.StdEncoding.DecodeString(whole)
	cut := base64.StdEncoding.EncodeToString
	sum := slices.Clone(z)
	sum[len(sum)-1] ^= 1
	for _, test := range []struct {
		name, batch string
		limits      accesslog.Limits
		want        error
	}{
		{"no base64", "!" + whole, accesslog.Limits{}, accesslog.ErrCorrupt},
		{"no zlib", cut([]byte("hello, world")), accesslog.Limits{}, accesslog.ErrCorrupt},
		{"empty", "", accesslog.Limits{}, accesslog.ErrCorrupt},
		{"half of it", cut(z[:len(z)/2]), accesslog.Limits{}, accesslog.ErrCorrupt},
		{"no checksum", cut(z[:len(z)-4]), accesslog.Limits{}, accesslog.ErrCorrupt},
		{"wrong checksum", cut(sum), accesslog.Limits{}, accesslog.ErrCorrupt},
		{"too long", whole, accesslog.Limits{Encoded: 100}, accesslog.ErrTooLarge},
		{"too much", whole, accesslog.Limits{Inflated: 10_000}, accesslog.ErrTooLarge},
		{"too many", whole, accesslog.Limits{Records: 99}, accesslog.ErrTooLarge},
	} {
		if back, err := accesslog.DecodeBatch(test.batch, test.limits); !errors.Is(err, test.want) {
			t.Errorf("%s: %d records, %v", test.name, len(back), err)
		}
	}
	if back, _ := accesslog.DecodeBatch(whole, accesslog.Limits{Inflated: 10_000}); len(back) < 20 || !slices.Equal(back, recs[:len(back)]) {
		t.Errorf("%d records kept of those within the limit", len(back))
	}
}

func TestEnvelopeOfTheField(t *testing.T) {
	recs := []accesslog.Record{ended(1, 0).Field()}
	b, err := accesslog.EncodeEnvelope(recs)
	if err != nil || !strings.HasPrefix(string(b), `{"type":"newt/access-log","data":{"compressed":"`) {
		t.Fatal(string(b), err)
	}
	if back, err := accesslog.DecodeEnvelope(b, accesslog.Limits{}); err != nil || !slices.Equal(back, recs) {
		t.Error(back, err)
	}
	for _, bad := range []string{``, `[]`, `{"type":"newt/other","data":{}}`, `{"type":"newt/access-log"}`} {
		if _, err := accesslog.DecodeEnvelope([]byte(bad), accesslog.Limits{}); !errors.Is(err, accesslog.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPythonReadsABatch(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("there is no python3 to read a batch with (scripts/install-test-deps.sh installs it): %v", err)
	}
	batch, err := accesslog.EncodeBatch([]accesslog.Record{ended(1, 0).Field(), ended(2, 1).Field()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", `import sys, json, zlib, base64
recs = json.loads(zlib.decompress(base64.b64decode(sys.stdin.read(), validate=True)))
print(len(recs), sum(r["bytesTx"] + r["bytesRx"] for r in recs), recs[1]["sessionId"], recs[0]["sourceAddr"])`)
	cmd.Stdin = strings.NewReader(batch)
	out, err := cmd.CombinedOutput()
	if want := "2 2200 0000000000000002 [2001:db8::1]:1025\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v", out, err)
	}
}

// What was merged before in any groups must come out as if it had not been.
func TestMergingIsTheSameHoweverRecordsCome(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		var recs []accesslog.Record
		second := 0
		for i := range 1 + rng.IntN(40) {
			second += rng.IntN(12)
			r := ended(i, second)
			if rng.IntN(4) == 0 {
				r.SourceAddr = fmt.Sprintf("10.1.1.%d:999", rng.IntN(2))
			}
			if rng.IntN(5) == 0 {
				r.EndedAt = r.EndedAt.Add(time.Duration(rng.IntN(60)) * time.Second)
			}
			recs = append(recs, r)
		}
		want := byStart(accesslog.Merge(recs, accesslog.MergeGap))
		if n := connections(want); n != int64(len(recs)) {
			t.Fatalf("round %d: %d connections of %d", round, n, len(recs))
		}
		rng.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
		var pool []accesslog.Record
		for len(recs) > 0 {
			n := 1 + rng.IntN(len(recs))
			pool, recs = accesslog.Merge(append(pool, recs[:n]...), accesslog.MergeGap), recs[n:]
		}
		if got := byStart(pool); !slices.Equal(got, want) {
			t.Fatalf("round %d:\n got %v\nwant %v", round, got, want)
		}
	}
}

func connections(recs []accesslog.Record) (n int64) {
	for _, r := range recs {
		n += r.Connections()
	}
	return n
}

func byStart(recs []accesslog.Record) []accesslog.Record {
	slices.SortFunc(recs, func(a, b accesslog.Record) int {
		return strings.Compare(a.StartedAt.Format(time.RFC3339Nano)+a.SessionID, b.StartedAt.Format(time.RFC3339Nano)+b.SessionID)
	})
	return recs
}

func TestMergingKeepsApartWhatIsNotOneBurst(t *testing.T) {
	base := ended(1, 0)
	for _, test := range []struct {
		name   string
		change func(*accesslog.Record)
		merged bool
	}{
		{"another port", func(r *accesslog.Record) { r.SourceAddr = "[2001:db8::1]:9" }, true},
		{"no port any more", func(r *accesslog.Record) { r.SourceAddr = "2001:db8::1" }, true},
		{"just within the gap", func(r *accesslog.Record) { r.StartedAt = base.EndedAt.Add(accesslog.MergeGap) }, true},
		{"beyond the gap", func(r *accesslog.Record) { r.StartedAt = base.EndedAt.Add(accesslog.MergeGap + 1) }, false},
		{"another source", func(r *accesslog.Record) { r.SourceAddr = "[2001:db8::2]:1025" }, false},
		{"another destination", func(r *accesslog.Record) { r.DestAddr = "10.0.0.1:444" }, false},
		{"another protocol", func(r *accesslog.Record) { r.Protocol = accesslog.UDP }, false},
		{"another resource", func(r *accesslog.Record) { r.ResourceID = 8 }, false},
		{"another user", func(r *accesslog.Record) { r.User = "bob" }, false},
		{"still open", func(r *accesslog.Record) { r.Kind, r.EndedAt = accesslog.KindAlive, time.Time{} }, false},
	} {
		other := base
		other.SessionID = "0000000000000002"
		other.EndedAt = epoch.Add(time.Minute)
		test.change(&other)
		in := []accesslog.Record{base, other}
		got := accesslog.Merge(in, accesslog.MergeGap)
		if (len(got) == 1) != test.merged || in[0] != base || in[1] != other {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func FuzzInflateBatch(f *testing.F) {
	z, err := accesslog.DeflateBatch([]accesslog.Record{ended(1, 0), ended(2, 1).Field()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(z)
	f.Add(z[:len(z)-5])
	f.Add([]byte{0x78, 0xda})
	limits := accesslog.Limits{Inflated: 1 << 16, Records: 100}
	f.Fuzz(func(t *testing.T, z []byte) {
		recs, _ := accesslog.InflateBatch(z, limits)
		if len(recs) > limits.Records {
			t.Fatalf("%d records", len(recs))
		}
		plain, err := accesslog.MarshalRecords(recs)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := accesslog.ParseRecords(plain); err != nil || len(again) != len(recs) {
			t.Fatalf("%d records of %d come back: %v", len(again), len(recs), err)
		}
	})
}

func FuzzParseRecords(f *testing.F) {
	good, err := accesslog.MarshalRecords([]accesslog.Record{ended(1, 0), ended(2, 1).Field()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{},7]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, _ := accesslog.ParseRecords(b)
		for i := range recs {
			if err := recs[i].Validate(); err != nil {
				t.Fatal(err)
			}
			_, _ = accesslog.SplitAddr(recs[i].SourceAddr)
			if line := accesslog.AppendLine(nil, &recs[i]); strings.Count(string(line), "\n") > 1 {
				t.Fatalf("%q", line)
			}
		}
		if n := connections(accesslog.Merge(recs, accesslog.MergeGap)); n != connections(recs) && n > 0 {
			t.Fatalf("%d connections merged of %d", n, connections(recs))
		}
	})
}
