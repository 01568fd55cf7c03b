package accessrecv

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestAFilterLetsThroughWhatItSays(t *testing.T) {
	s := create(t)
	now := began.Add(24 * time.Hour)
	s.now = func() time.Time { return now }
	at := func(id, user string, resource int64, source string, from time.Duration, kind accesslog.Kind, heard time.Duration) {
		r := rec(1, kind, 1)
		r.SessionID, r.User, r.ResourceID, r.SourceAddr, r.StartedAt = id, user, resource, source, began.Add(from)
		if kind == accesslog.KindEnd {
			r.EndedAt = r.StartedAt.Add(time.Hour)
		}
		now = began.Add(heard)
		store(t, s, r)
		now = began.Add(24 * time.Hour)
	}
	at("a", "ada", 1, "10.0.0.1:50", 0, accesslog.KindEnd, time.Hour)
	at("b", "bob", 2, "10.0.0.2:50", 2*time.Hour, accesslog.KindEnd, 3*time.Hour)
	at("c", "ada", 2, "[2001:db8::1]:60", 4*time.Hour, accesslog.KindAlive, 24*time.Hour)
	at("d", "", 3, "2001:db8::2:61000", 5*time.Hour, accesslog.KindAlive, 6*time.Hour) // brackets left out
	at("e", "eve", 3, "gate.example:70", 6*time.Hour, accesslog.KindEnd, 7*time.Hour)
	at("f", "ada", 1, "10.0.0.1", 7*time.Hour, accesslog.KindEnd, 8*time.Hour) // merged
	at("g", "ada", 1, "[::ffff:10.0.0.1]:51", 8*time.Hour, accesslog.KindStart, 24*time.Hour)
	h := func(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Hour))) }
	tests := []struct {
		name string
		f    Filter
		want string
	}{
		{"all, the newest first", Filter{}, "g f e d c b a"},
		{"two at most", Filter{Limit: 2}, "g f"},
		{"a user", Filter{User: "ada"}, "g f c a"},
		{"no such user", Filter{User: "ada' OR '1'='1"}, ""},
		{"a resource", Filter{Resources: []int64{2}}, "c b"},
		{"two resources", Filter{Resources: []int64{2, 3}}, "e d c b"},
		{"since, by when they ended or are open", Filter{Since: h(2.5)}, "g f e d c b"},
		{"since the end of one", Filter{Since: h(3)}, "g f e d c b"},
		{"since after it", Filter{Since: h(3.001)}, "g f e d c"},
		{"until, by when they began", Filter{Until: h(4)}, "b a"},
		{"between", Filter{Since: h(0.5), Until: h(2)}, "a"},
		{"from an address, whatever its form", Filter{Source: "10.0.0.1"}, "g f a"},
		{"from an address and port", Filter{Source: "10.0.0.1:50"}, "a"},
		{"from a mapped address and port", Filter{Source: "[::ffff:10.0.0.1]:51"}, "g"},
		{"from an IPv6 address", Filter{Source: "2001:db8:0::1"}, "c"},
		{"from one in brackets", Filter{Source: "[2001:db8::2]"}, "d"},
		{"from one with a port", Filter{Source: "[2001:db8::2]:61000"}, "d"},
		{"from a prefix", Filter{Source: "10.0.0.0/30"}, "g f b a"},
		{"from a prefix of one", Filter{Source: "10.0.0.2/32"}, "b"},
		{"from an IPv6 prefix", Filter{Source: "2001:db8::/64"}, "d c"},
		{"from all of IPv4", Filter{Source: "0.0.0.0/0"}, "g f b a"},
		{"from a name", Filter{Source: "gate.example"}, "e"},
		{"from a name and port", Filter{Source: "gate.example:70"}, "e"},
		{"from part of a name", Filter{Source: "gate"}, ""},
		{"ended", Filter{States: []State{Ended}}, "f e b a"},
		{"active", Filter{States: []State{Active}}, "g c"},
		{"stale", Filter{States: []State{Stale}}, "d"},
		{"not ended", Filter{States: []State{Active, Stale}}, "g d c"},
		{"stale later", Filter{States: []State{Stale}, StaleAfter: 20 * time.Hour}, ""},
		{"everything at once", Filter{User: "ada", Resources: []int64{1}, Since: h(0), Until: h(9), Source: "10.0.0.1", States: []State{Active, Ended}, Limit: 2}, "g f"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ids []string
			for _, session := range sessions(t, s, test.f) {
				ids = append(ids, session.SessionID)
			}
			if got := strings.Join(ids, " "); got != test.want {
				t.Fatalf("got %q, want %q", got, test.want)
			}
		})
	}
	for _, session := range sessions(t, s, Filter{}) {
		want := map[string]State{"c": Active, "d": Stale, "g": Active}[session.SessionID]
		if want == "" {
			want = Ended
		}
		if session.State != want {
			t.Errorf("%s is %s, want %s", session.SessionID, session.State, want)
		}
	}
}

func TestAFilterThatMakesNoSenseIsRefused(t *testing.T) {
	tests := []struct {
		f    Filter
		says string
	}{
		{Filter{Limit: -1}, "limit: -1 is negative"},
		{Filter{StaleAfter: -time.Second}, "stale after: -1s is negative"},
		{Filter{Since: began, Until: began}, "is not before until"},
		{Filter{Source: "10.0.0.0/40"}, "not an address prefix"},
		{Filter{States: []State{"gone"}}, `state: "gone"`},
	}
	s := create(t)
	for _, test := range tests {
		for _, err := range s.Sessions(t.Context(), test.f) {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v: %v", test.f, err)
			}
		}
	}
}

func TestPrefixesBoundWhatTheyContain(t *testing.T) {
	for _, test := range []struct{ prefix, first, last string }{
		{"10.1.2.3/16", "00000000000000000000ffff0a010000", "00000000000000000000ffff0a01ffff"},
		{"10.1.2.3/32", "00000000000000000000ffff0a010203", "00000000000000000000ffff0a010203"},
		{"0.0.0.0/0", "00000000000000000000ffff00000000", "00000000000000000000ffffffffffff"},
		{"2001:db8::/33", "20010db8000000000000000000000000", "20010db87fffffffffffffffffffffff"},
		{"::/0", "00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff"},
	} {
		_, args := sourceIs(test.prefix)
		got := []string{fmt.Sprintf("%x", args[0]), fmt.Sprintf("%x", args[1])}
		if !slices.Equal(got, []string{test.first, test.last}) {
			t.Errorf("%s: %v", test.prefix, got)
		}
	}
}
