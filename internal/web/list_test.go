package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

type listPage struct {
	Sessions []sessions.Session
	Next     string
}

// list is the ids of a page, and the next page's cursor.
func (s *site) list(query string) (sids, next string) {
	s.t.Helper()
	var p listPage
	s.want("/sessions?"+query, &p)
	var ids []string
	for _, l := range p.Sessions {
		ids = append(ids, l.Session)
	}
	return strings.Join(ids, " "), p.Next
}

// shifted moves all times of a script.
func shifted(t testing.TB, by time.Duration, user, host string, more ...events.Event) *script {
	t.Helper()
	sc := &script{t: t, at: by}
	sc.add(&events.SessionStart{TerminalSize: "80:24", User: &events.UserMetadata{User: user, Login: "root"},
		Server: &events.ServerMetadata{ServerHostname: host}, InitialCommand: []string{"vim", "Notes of " + user}})
	for _, e := range more {
		sc.wait(10 * time.Minute).add(e)
	}
	return sc
}

func TestListFilters(t *testing.T) {
	s := newSite(t)
	s.put("old", 1<<30, shifted(t, 0, "joe", "db-1", &events.SessionEnd{}).records)                                                         // 12:00 to 12:10
	s.put("mid", 1<<30, shifted(t, time.Hour, "ann", "db-1", &events.SessionJoin{User: &events.UserMetadata{User: "Eve O'Brian"}}).records) // 13:00 to 13:10
	gapped := shifted(t, 2*time.Hour, "joe", "web-1", &events.SessionLeave{}, &events.SessionEnd{})
	gapped.records = append(gapped.records[:1], gapped.records[2])
	s.put("gap", 1<<30, gapped.records)
	s.put("desk", 1<<30, (&script{t: t, at: 3 * time.Hour}).add(desktopStart()).records)
	exec := &script{t: t, at: 4 * time.Hour}
	s.put("exec", 1<<30, exec.add(&events.SessionStart{User: &events.UserMetadata{User: "joe"}}).records)
	s.live("live", "joe", "db-2")
	s.listed("live", "live")
	s.sync()
	tests := []struct{ query, want string }{
		{"", "live exec desk gap mid old"},
		{"state=live", "live"},
		{"state=finished", "exec desk gap mid old"},
		{"kind=exec", "exec"},
		{"kind=desktop", "desk"},
		{"kind=terminal&state=finished", "gap mid old"},
		{"outcome=gapped", "gap"},
		{"user=joe", "live exec desk gap old"},
		{"user=jo", ""},
		{"host=db-1", "mid old"},
		{"user=joe&host=db-1", "old"},
		{"q=notes", "gap mid old"},
		{"q=NOTES+joe", "gap old"},
		{"q=o%27brian", "mid"},
		{"q=%25", ""},
		{"q=mid", "mid"},
		{"from=2026-05-04T12:05:00Z&to=2026-05-04T13:05:00Z", "mid old"},
		{"from=2026-05-04T12:11:00Z&to=2026-05-04T13:00:00Z", "mid"},
		{"from=2026-05-04T14:00:00%2B02:00&to=2026-05-04T14:10:00%2B02:00", "old"},
	}
	for _, tt := range tests {
		if got, next := s.list(tt.query); got != tt.want || next != "" {
			t.Errorf("%s: %q, next %q; want %q", tt.query, got, next, tt.want)
		}
	}
	for _, bad := range []string{"state=dead", "kind=x", "limit=201", "limit=-1", "limit=x", "from=yesterday", "after=!!", "after=eHg", "q=" + strings.Repeat("x", 201)} {
		wantError(t, s.get("/sessions?"+bad), http.StatusBadRequest, "bad_request")
	}
}

// A name with a NUL in it is no other name: neither the list nor a look takes it for
// one that a token lets through.
func TestANameIsReadToItsEnd(t *testing.T) {
	s := newSite(t)
	for i, user := range []string{"ann", "ann\x00eve", "\x00ann", "eve\x00ann"} {
		s.put(name("s", i), 1<<30, shifted(t, time.Duration(i)*time.Hour, user, "db-1", &events.SessionEnd{}).records)
	}
	s.sync()
	for i, tt := range []struct {
		patterns []string
		want     string
	}{
		{[]string{"ann"}, "s-0000"}, {[]string{"*nn"}, "s-0000"}, {[]string{"ann*"}, "s-0000"}, {[]string{"*"}, "s-0000"}, {[]string{"ann\x00bob"}, ""},
		{[]string{"ann\x00eve", "bob"}, ""},
	} {
		auditor := s.token(token.Token{Name: name("t", i), Role: token.Auditor, Filter: token.Filter{User: tt.patterns}})
		a := s.do(s.request(auditor, http.MethodGet, "/sessions", nil))
		var p listPage
		must(t, json.Unmarshal([]byte(a.body), &p))
		var listed []string
		for _, l := range p.Sessions {
			listed = append(listed, l.Session)
		}
		if got := strings.Join(listed, " "); got != tt.want {
			t.Errorf("who may see %q is listed %q, want %q", tt.patterns, got, tt.want)
		}
		for i := range 4 {
			sid := name("s", i)
			if a := s.do(s.request(auditor, http.MethodGet, "/sessions/"+sid, nil)); (a.status == http.StatusOK) != (sid == tt.want) {
				t.Errorf("who may see %q looks at %s: %d", tt.patterns, sid, a.status)
			}
		}
	}
}

func TestPagesHaveEverySessionOnceWhateverBeginsMeanwhile(t *testing.T) {
	s := newSite(t)
	const n = 25
	for i := range n {
		// Several begin at the same moment.
		s.put(name("s", i), 1<<30, shifted(t, time.Duration(i/3)*time.Hour, "joe", "db-1").records)
	}
	s.sync()
	var seen []string
	after := ""
	for page := 0; ; page++ {
		got, next := s.list("limit=4&after=" + after)
		seen = append(seen, strings.Fields(got)...)
		s.put(name("new", page), 1<<30, shifted(t, time.Duration(100+page)*time.Hour, "joe", "db-1").records)
		s.sync()
		if after = next; after == "" {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("%d sessions on all pages, want %d: %v", len(seen), n, seen)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i-1] <= seen[i] { // their names have the order of their beginning
			t.Errorf("%s before %s", seen[i-1], seen[i])
		}
	}
}

func TestTheListFollowsSessionsAsTheyBeginAndEnd(t *testing.T) {
	s := newSite(t)
	s.put("old", 1<<30, terminal(t, "joe", "db-1").records)
	s.sync()
	ann := s.token(token.Token{Name: "ann", Role: token.Auditor, Filter: token.Filter{User: []string{"ann"}}})
	all, anns := s.stream(s.admin, "/sessions/changes"), s.stream(ann, "/sessions/changes")
	s.live("one", "joe", "db-1")
	s.live("two", "ann", "db-1")
	change := func(st *stream, sid, state string) sessions.Session {
		t.Helper()
		var got sessions.Session
		st.until(sid+" "+state, func(e sseEvent) bool {
			got = sessions.Session{}
			must(t, json.Unmarshal([]byte(e.data), &got))
			if st == anns && got.Session != "two" {
				t.Errorf("ann is told of %s", got.Session)
			}
			return e.event == "session" && got.Session == sid && got.State == state
		})
		return got
	}
	if got := change(all, "one", "live"); got.User != "joe" || got.Host != "db-1" || got.Started.IsZero() || !got.Ended.IsZero() {
		t.Errorf("a session that begins is %+v", got)
	}
	change(anns, "two", "live")

	// A viewer that comes back is told what changed meanwhile.
	got, err := s.index.Get(t.Context(), "one")
	must(t, err)
	back := s.stream(s.admin, "/sessions/changes", "Last-Event-ID", fmt.Sprint(got.Rev-1))
	change(back, "one", "live")
}

// The index holds nothing of its own: made anew it is the same.
func TestTheIndexCanBeRebuiltFromManifestsAndLogs(t *testing.T) {
	s := newSite(t)
	for i := range 12 {
		s.put(name("s", i), 1<<30, shifted(t, time.Duration(i)*time.Hour, "joe", "db-1").records)
	}
	s.object("broken.manifest.json", []byte("{"))
	s.live("live", "ann", "db-2")
	s.listed("live", "live")
	s.sync()
	before := s.want("/sessions", nil)
	if !strings.Contains(before, `"session":"broken","state":"finished"`) {
		t.Errorf("a session whose manifest is broken is not listed: %s", before)
	}
	n, err := s.keeper().Rebuild(t.Context())
	must(t, err)
	if after := s.want("/sessions", nil); n != 14 || after != before {
		t.Errorf("%d sessions after; before\n%s\nafter\n%s", n, before, after)
	}
	// What is gone from the store goes from the list.
	must(t, s.store.Delete(t.Context(), s.store.Key("s-0003.manifest.json")))
	s.sync()
	if got, _ := s.list("q=s-0003"); got != "" {
		t.Errorf("what is gone is listed: %s", got)
	}
}

func TestManifestsAreReadOnceOnly(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		s.put(name("s", i), 1<<30, terminal(t, "joe", "db-1").records)
	}
	s.sync()
	before := s.store.Stats().Requests
	s.sync()
	if n := s.store.Stats().Requests - before; n > 2 {
		t.Errorf("%d requests to find that nothing has changed", n)
	}
}
