package web_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// ofSession are the paths that are about one session. openapi_test.go holds them
// against the document.
var ofSession = []string{
	"GET /sessions/{sid}", "GET /sessions/{sid}/timeline", "GET /sessions/{sid}/events", "GET /sessions/{sid}/output", "GET /sessions/{sid}/cast",
	"GET /sessions/{sid}/raw", "GET /sessions/{sid}/screen?at_ms=0", "GET /sessions/{sid}/desktop", "GET /sessions/{sid}/live",
	"GET /sessions/{sid}/recording", "GET /sessions/{sid}/manifest", "GET /sessions/{sid}/export?format=text", "POST /sessions/{sid}/verify",
}

func pathOf(operation, sid string) (method, path string) {
	method, path, _ = strings.Cut(operation, " ")
	return method, strings.ReplaceAll(path, "{sid}", sid)
}

func TestWithoutAGoodTokenNothingIsShown(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	gone := s.token(token.Token{Name: "gone", Role: token.Admin})
	must(t, s.tokens.Remove("gone"))
	for _, op := range append([]string{"GET /me", "GET /sessions", "GET /sessions/changes"}, ofSession...) {
		method, path := pathOf(op, "story")
		for _, tok := range []string{"", "tdk_WRONG", gone, strings.Repeat("x", 10_000)} {
			wantError(t, s.do(s.request(tok, method, path, nil)), http.StatusUnauthorized, "unauthorized")
		}
	}
}

func TestAnAuditorSeesWhatTheFilterLetsThrough(t *testing.T) {
	s := newSite(t)
	for sid, who := range map[string][2]string{
		"a": {"joe", "db-1"}, "b": {"joe", "web-1"}, "c": {"ann", "db-1"}, "d": {"", "db-1"}, "e": {"joe", ""}, "f": {"JOE", "db-1"}, "g": {"j[o]e?", "db-9"},
	} {
		s.put(sid, 1<<30, terminal(t, who[0], who[1]).print("secret of "+sid).records)
	}
	s.sync()
	tests := []struct {
		name   string
		filter token.Filter
		sees   string
	}{
		{"everything", token.Filter{}, "abcdefg"},
		{"a user", token.Filter{User: []string{"joe"}}, "abe"},
		{"hosts", token.Filter{Host: []string{"db-*"}}, "acdfg"},
		{"a user on hosts", token.Filter{User: []string{"joe"}, Host: []string{"db-*"}}, "a"},
		{"two users", token.Filter{User: []string{"joe", "ann"}, Host: []string{"*1"}}, "abc"},
		{"characters that other patterns know", token.Filter{User: []string{"j[o]e?"}}, "g"},
		{"whoever is known", token.Filter{User: []string{"*"}}, "abcefg"},
		{"nobody", token.Filter{User: []string{"eve"}}, ""},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tok := s.token(token.Token{Name: name("auditor", n), Role: token.Auditor, Filter: tt.filter})
			list := s.do(s.request(tok, http.MethodGet, "/sessions", nil)).body
			for _, sid := range strings.Split("abcdefg", "") {
				may := strings.Contains(tt.sees, sid)
				if listed := strings.Contains(list, `"session":"`+sid+`"`); listed != may {
					t.Errorf("session %s is listed: %t", sid, listed)
				}
				for _, op := range ofSession {
					method, path := pathOf(op, sid)
					if may && strings.Contains(path, "screen") {
						continue // it has none
					}
					a := s.do(s.request(tok, method, path, nil))
					if may && a.status != http.StatusOK {
						t.Errorf("%s: %d %s", path, a.status, a.body)
					}
					if !may {
						wantError(t, a, http.StatusNotFound, "not_found")
					}
				}
			}
		})
	}
}

func TestLoginSetsACookieThatOnlyThisSiteGets(t *testing.T) {
	s := newSite(t)
	jar, err := cookiejar.New(nil)
	must(t, err)
	client := &http.Client{Jar: jar}
	resp, err := client.Get(s.url + "/login?token=" + s.admin)
	must(t, err)
	resp.Body.Close()
	if resp.Request.URL.Path != "/" || resp.StatusCode != http.StatusOK {
		t.Errorf("the link leads to %s, %d", resp.Request.URL, resp.StatusCode)
	}
	if resp, err = client.Get(s.url + "/api/v1/me"); err == nil && resp.StatusCode != http.StatusOK {
		t.Errorf("me with the cookie: %d", resp.StatusCode)
	}
	must(t, err)
	resp.Body.Close()

	a := s.do(s.request("", http.MethodGet, "/login?token="+s.admin, nil))
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("cookie is %q, want %s in it", cookie, part)
		}
	}
	if a := s.do(s.request("", http.MethodGet, "/login?token=wrong", nil)); a.status != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: %d, %v", a.status, a.header)
	}
	if a := s.do(s.request("", http.MethodPost, "/login", strings.NewReader(`{"token":"`+s.admin+`"}`))); a.status != http.StatusOK || !strings.Contains(a.header.Get("Set-Cookie"), s.admin) {
		t.Errorf("login is %d %s", a.status, a.body)
	}
	wantError(t, s.do(s.request("", http.MethodPost, "/login", strings.NewReader(`{"token":"wrong"}`))), http.StatusUnauthorized, "unauthorized")
	wantError(t, s.do(s.request("", http.MethodPost, "/login", strings.NewReader(`token`))), http.StatusBadRequest, "bad_request")
	wantError(t, s.do(s.request("", http.MethodPost, "/login", strings.NewReader(`{"token":"`+strings.Repeat("x", 1<<20)))), http.StatusBadRequest, "bad_request")
	if a := s.do(s.request("", http.MethodPost, "/logout", nil)); a.status != http.StatusNoContent || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout is %d %v", a.status, a.header)
	}
}

// What is not a plain read comes from our own page or from no browser.
func TestOtherSitesCanDoNothing(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	own := s.url
	tests := []struct {
		name    string
		method  string
		path    string
		headers map[string]string
		status  int
	}{
		{"a program", http.MethodPost, "/sessions/story/verify", nil, 200},
		{"our page", http.MethodPost, "/sessions/story/verify", map[string]string{"Origin": own, "Sec-Fetch-Site": "same-origin"}, 200},
		{"our page in an old browser", http.MethodPost, "/sessions/story/verify", map[string]string{"Origin": own}, 200},
		{"another site", http.MethodPost, "/sessions/story/verify", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403},
		{"another port", http.MethodPost, "/sessions/story/verify", map[string]string{"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, 403},
		{"another site in an old browser", http.MethodPost, "/sessions/story/verify", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a sandboxed frame", http.MethodPost, "/logout", map[string]string{"Origin": "null"}, 403},
		{"login from another site", http.MethodPost, "/login", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a link to log in on another site", http.MethodGet, "/login?token=" + s.admin, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a link to log in that was typed", http.MethodGet, "/login?token=" + s.admin, map[string]string{"Sec-Fetch-Site": "none"}, 303},
		{"a name that points here", http.MethodGet, "/sessions", map[string]string{"Host": "evil.example"}, 421},
		{"a name that points here, with our port", http.MethodGet, "/", map[string]string{"Host": "evil.example:8470"}, 421},
		{"localhost", http.MethodGet, "/sessions", map[string]string{"Host": "localhost:8470"}, 200},
		{"an address", http.MethodGet, "/sessions", map[string]string{"Host": "[::1]:8470"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.request(s.admin, tt.method, tt.path, nil)
			for k, v := range tt.headers {
				r.Header.Set(k, v)
			}
			if host := tt.headers["Host"]; host != "" {
				r.Host = host
			}
			if a := s.do(r); a.status != tt.status {
				t.Errorf("status %d, want %d: %s", a.status, tt.status, a.body)
			}
		})
	}
}

func TestBehindAProxyItsPublicNameIsOurs(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.PublicURL, c.Listen = "https://decks.example", embedtest.FreeAddr(t) })
	for host, want := range map[string]int{"decks.example": 200, "DECKS.example:443": 200, "evil.example": 421} {
		r := s.request(s.admin, http.MethodGet, "/me", nil)
		r.Host = host
		if a := s.do(r); a.status != want {
			t.Errorf("%s: %d, want %d", host, a.status, want)
		}
	}
	r := s.request("", http.MethodPost, "/login", strings.NewReader(`{"token":"`+s.admin+`"}`))
	r.Host = "decks.example"
	r.Header.Set("Origin", "https://decks.example")
	if a := s.do(r); a.status != 200 || !strings.Contains(a.header.Get("Set-Cookie"), "Secure") {
		t.Errorf("login is %d, %v", a.status, a.header)
	}
}

func TestNoAuthIsForLoopbackOnly(t *testing.T) {
	for _, c := range []web.Config{
		{Listen: "0.0.0.0:0", NoAuth: true}, {Listen: ":8470", NoAuth: true}, {Listen: "192.0.2.1:1", NoAuth: true}, {NoAuth: true, PublicURL: "https://decks.example"},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "no auth: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	s := newSite(t, func(c *web.Config) { c.NoAuth = true })
	s.finished("story", story(t))
	if a := s.do(s.request("", http.MethodGet, "/sessions/story/output", nil)); a.status != 200 {
		t.Errorf("output is %d %s", a.status, a.body)
	}
	// A page of another site may be in the same browser.
	r := s.request("", http.MethodPost, "/sessions/story/verify", nil)
	r.Header.Set("Origin", "https://evil.example")
	if a := s.do(r); a.status != http.StatusForbidden {
		t.Errorf("another site's request is %d", a.status)
	}
}

// looks are the access events on the bus so far, as "user session format".
func (s *site) looks() []string {
	s.t.Helper()
	stream, err := s.conn.JetStream().Stream(s.t.Context(), bus.StreamAudit)
	must(s.t, err)
	info, err := stream.Info(s.t.Context())
	must(s.t, err)
	var all []string
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(s.t.Context(), seq)
		must(s.t, err)
		one, err := events.Unmarshal(msg.Data)
		must(s.t, err)
		e := one.GetSessionRecordingAccess()
		if e.GetMetadata().GetType() != "session.recording.access" || e.GetMetadata().GetCode() != "T2012I" || e.GetMetadata().GetId() == "" ||
			msg.Subject != "tapedeck.audit.session.recording.access" {
			s.t.Errorf("event on %s is %v", msg.Subject, e)
		}
		all = append(all, strings.Join([]string{e.GetUser().GetUser(), e.GetSessionId(), e.GetSessionType(), e.GetFormat()}, " "))
	}
	return all
}

func TestEveryLookIsAnAuditEventThatNamesWhoLooked(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	ann := s.token(token.Token{Name: "ann", Role: token.Auditor})
	s.want("/sessions", nil)
	s.want("/sessions/story", nil)
	if got := s.looks(); len(got) != 0 {
		t.Errorf("the list is no look at a recording: %q", got)
	}
	for _, path := range []string{"timeline", "output", "events", "output?from_index=2", "raw", "cast?version=3", "export?format=text", "recording", "live"} {
		s.want("/sessions/story/"+path, nil)
	}
	s.do(s.request(ann, http.MethodGet, "/sessions/story/output", nil))
	want := "admin story terminal web|admin story terminal cast3|admin story terminal text|admin story terminal recording|admin story terminal live|ann story terminal web"
	if got := strings.Join(s.looks(), "|"); got != want {
		t.Errorf("looks are %q, want %q", got, want)
	}
}

func TestALookThatCannotBeRecordedIsRefused(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	js := s.conn.JetStream()
	must(t, js.DeleteStream(t.Context(), bus.StreamAudit))
	for _, path := range []string{"timeline", "output", "recording", "live", "export?format=json"} {
		wantError(t, s.get("/sessions/story/"+path), http.StatusServiceUnavailable, "audit_unavailable")
	}
	_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: bus.StreamAudit, Subjects: []string{bus.AuditSubject(">")}})
	must(t, err)
	s.want("/sessions/story/output", nil)
}

func TestATokenThatIsTakenAwayEndsWhatItOpened(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.Recheck = 50 * time.Millisecond })
	tok := s.token(token.Token{Name: "ann", Role: token.Admin})
	st := s.stream(tok, "/sessions/changes")
	must(t, s.tokens.Remove("ann"))
	e := st.until("it is dropped", func(e sseEvent) bool { return e.event == "dropped" })
	if !strings.Contains(e.data, "token is no longer good") {
		t.Errorf("dropped with %v", e)
	}
}

func TestTokensThatOthersCanReadAreNotUsed(t *testing.T) {
	s := newSite(t)
	must(t, os.Chmod(s.tokens.Path(), 0o644))
	// The file looks as before but for its mode; a new one is read in any case.
	later := time.Now().Add(time.Second)
	must(t, os.Chtimes(s.tokens.Path(), later, later))
	wantError(t, s.get("/me"), http.StatusInternalServerError, "internal")
}

func TestPageIsServedToAnybodyAndPermalinksAreThePage(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/", "/s/story", "/s/" + url.PathEscape("a b<script>")} {
		a := s.do(s.request("", http.MethodGet, path, nil))
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || strings.Contains(a.body, "a b<script>") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	for _, path := range []string{"/assets/nothing.js", "/assets/", "/assets", "/nothing", "/assets/..%2f..%2fgo.mod", "/s/../../etc/passwd"} {
		if a := s.do(s.request("", http.MethodGet, path, nil)); a.status == 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := s.do(s.request("", http.MethodPost, "/", nil)); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST to the page: %d", a.status)
	}
}
