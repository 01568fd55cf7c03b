package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/tapedeck-io/tapedeck/internal/web"
)

// A contract is the document, ready to hold requests and answers against. Schemas
// of OpenAPI 3.1 are JSON Schema 2020-12, so a validator of that checks them where
// they stand.
type contract struct {
	t       testing.TB
	doc     map[string]any
	schemas *jsonschema.Compiler
}

func document(t testing.TB) *contract {
	t.Helper()
	var doc any
	must(t, yaml.Unmarshal(web.OpenAPI, &doc))
	text, err := json.Marshal(doc)
	must(t, err)
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	must(t, c.AddResource("openapi.json", parsed))
	d := &contract{t, parsed.(map[string]any), c}
	if d.doc["openapi"] != "3.1.0" {
		t.Fatalf("openapi is %v", d.doc["openapi"])
	}
	return d
}

// at is what stands at a place of the document, and the place where it really
// stands: references are followed.
func (c *contract) at(place ...string) (any, string) {
	var node any = c.doc
	where := ""
	for _, name := range place {
		object, ok := node.(map[string]any)
		if !ok {
			return nil, ""
		}
		node = object[name]
		where += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		object, _ = node.(map[string]any)
		if ref, ok := object["$ref"].(string); ok {
			node, where = c.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return node, where
}

// check validates a value against the schema at a place.
func (c *contract) check(where string, value any) error {
	schema, err := c.schemas.Compile("openapi.json#" + where)
	if err != nil {
		c.t.Fatalf("schema at %s: %v", where, err)
	}
	return schema.Validate(value)
}

// operations are all of them, as "GET /path".
func (c *contract) operations() map[string]bool {
	all := map[string]bool{}
	for path, item := range c.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				all[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	return all
}

// parameters are those of an operation, and the places of their schemas.
func (c *contract) parameters(method, path string) map[string]string {
	all := map[string]string{}
	for _, holder := range [][]string{{"paths", path}, {"paths", path, strings.ToLower(method)}} {
		node, where := c.at(holder...)
		list, _ := node.(map[string]any)["parameters"].([]any)
		for i, p := range list {
			at := fmt.Sprintf("%s/parameters/%d", where, i)
			if ref, ok := p.(map[string]any)["$ref"].(string); ok {
				p, at = c.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
			param := p.(map[string]any)
			all[param["in"].(string)+" "+param["name"].(string)] = at
		}
	}
	return all
}

// allows says whether the document allows a request, or why not.
func (c *contract) allows(method, path, sid, query, body string) error {
	params := c.parameters(method, path)
	q, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	given := map[string]string{}
	for name := range q {
		given["query "+name] = q.Get(name)
	}
	if sid != "" {
		given["path sid"] = sid
	}
	for name, value := range given {
		where, ok := params[name]
		if !ok {
			return fmt.Errorf("there is no parameter %s", name)
		}
		if err := c.checkText(where+"/schema", value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, where := range params {
		if _, ok := given[name]; !ok && c.required(where) {
			return fmt.Errorf("%s is required", name)
		}
	}
	if body == "" {
		return nil
	}
	_, where := c.at("paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema")
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err
	}
	return c.check(where, value)
}

// required says whether the parameter at a place is.
func (c *contract) required(where string) bool {
	var node any = c.doc
	for name := range strings.SplitSeq(strings.TrimPrefix(where, "/"), "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		if list, ok := node.([]any); ok {
			n, err := strconv.Atoi(name)
			must(c.t, err)
			node = list[n]
			continue
		}
		node = node.(map[string]any)[name]
	}
	return node.(map[string]any)["required"] == true
}

// checkText checks the text of a parameter: as the number that it may be, and as
// what it is.
func (c *contract) checkText(where, value string) error {
	err := c.check(where, value)
	if err == nil {
		return nil
	}
	if n, nerr := jsonschema.UnmarshalJSON(strings.NewReader(value)); nerr == nil {
		return c.check(where, n)
	}
	return err
}

// conforms says whether an answer is one that the document says.
func (c *contract) conforms(method, path string, status int, header http.Header, body []byte) error {
	responses := []string{"paths", path, strings.ToLower(method), "responses"}
	node, _ := c.at(append(responses, strconv.Itoa(status))...)
	code := strconv.Itoa(status)
	if node == nil {
		if status < 400 {
			return fmt.Errorf("there is no answer %d", status)
		}
		code = "default"
		node, _ = c.at(append(responses, code)...)
	}
	answer, ok := node.(map[string]any)
	if !ok {
		return fmt.Errorf("there is no answer %d, nor a default", status)
	}
	content, _ := answer["content"].(map[string]any)
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("it has %d bytes, and should have none", len(body))
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if content[kind] == nil {
		return fmt.Errorf("type %s is not among those documented", kind)
	}
	if kind != "application/json" {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, where := c.at(append(responses, code, "content", kind, "schema")...)
	return c.check(where, value)
}

// A call is a request that the document must allow, and the status of its answer. A
// bad one the document must refuse, as the server does.
type call struct {
	operation string // as in the document, with a session in the braces
	query     string
	body      string
	token     string
	status    int
	bad       bool
}

// Every operation of the document is a route of the server and the other way round,
// and what is asked and answered is as the document says.
func TestTheDocumentAndTheHandlersAgree(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.finished("desk", newScript(t, desktopStart()).message([]byte{3, 0, 0, 0, 1, 0, 0, 0, 2}))
	s.broken("corrupt", false)
	l := s.live("live", "joe", "db-1")
	must(t, l.End(t.Context()))
	doc := document(t)
	calls := []call{
		{operation: "GET /openapi.yaml", status: 200},
		{operation: "POST /login", body: fmt.Sprintf(`{"token":%q}`, s.admin), status: 200},
		{operation: "POST /login", body: `{"token":"wrong"}`, status: 401},
		{operation: "POST /login", body: `{"taken":""}`, status: 400, bad: true},
		{operation: "POST /logout", status: 204},
		{operation: "GET /me", status: 200},
		{operation: "GET /me", token: "none", status: 401},
		{operation: "GET /sessions", status: 200},
		{operation: "GET /sessions", query: "state=finished&outcome=complete&kind=terminal&user=joe&host=db-1&q=joe&from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z&limit=1", status: 200},
		{operation: "GET /sessions", query: "state=dead", status: 400, bad: true},
		{operation: "GET /sessions", query: "limit=201", status: 400, bad: true},
		{operation: "GET /sessions", query: "from=yesterday", status: 400, bad: true},
		{operation: "GET /sessions/changes", status: 200},
		{operation: "GET /sessions/{story}", status: 200},
		{operation: "GET /sessions/{live}", status: 200},
		{operation: "GET /sessions/{nobody}", status: 404},
		{operation: "GET /sessions/{a.b}", status: 400, bad: true},
		{operation: "POST /sessions/{story}/verify", status: 200},
		{operation: "POST /sessions/{corrupt}/verify", status: 200},
		{operation: "GET /sessions/{story}", status: 200}, // with what verify found
		{operation: "GET /sessions/{story}/timeline", status: 200},
		{operation: "GET /sessions/{desk}/timeline", status: 200},
		{operation: "GET /sessions/{corrupt}/timeline", status: 200},
		{operation: "GET /sessions/{live}/timeline", status: 200},
		{operation: "GET /sessions/{story}/events", query: "from_index=1&to_index=5&from_ms=0&to_ms=100000&prints=1&limit=3", status: 200},
		{operation: "GET /sessions/{story}/events", query: "from_index=-1", status: 400, bad: true},
		{operation: "GET /sessions/{story}/events", query: "prints=2", status: 400, bad: true},
		{operation: "GET /sessions/{story}/output", query: "from_ms=1000", status: 200},
		{operation: "GET /sessions/{story}/output", query: "to_ms=1000000000001", status: 400, bad: true},
		{operation: "GET /sessions/{story}/screen", query: "at_ms=5", status: 404},
		{operation: "GET /sessions/{story}/screen", status: 400, bad: true},
		{operation: "GET /sessions/{desk}/desktop", status: 200},
		{operation: "GET /sessions/{story}/live", query: "from_index=2", status: 200},
		{operation: "GET /sessions/{live}/live", status: 200},
		{operation: "GET /sessions/{story}/raw", query: "offset=2&limit=3", status: 200},
		{operation: "GET /sessions/{story}/raw", query: "offset=200", status: 416},
		{operation: "GET /sessions/{story}/raw", query: "limit=5242881", status: 400, bad: true},
		{operation: "GET /sessions/{story}/cast", query: "version=3", status: 200},
		{operation: "GET /sessions/{story}/cast", query: "version=4", status: 400, bad: true},
		{operation: "GET /sessions/{desk}/cast", status: 409},
		{operation: "GET /sessions/{story}/recording", status: 200},
		{operation: "GET /sessions/{live}/recording", status: 409},
		{operation: "GET /sessions/{story}/manifest", status: 200},
		{operation: "GET /sessions/{live}/manifest", status: 404},
		{operation: "GET /sessions/{story}/export", query: "format=cast2", status: 200},
		{operation: "GET /sessions/{story}/export", query: "format=text", status: 200},
		{operation: "GET /sessions/{story}/export", query: "format=json", status: 200},
		{operation: "GET /sessions/{story}/export", query: "format=exe", status: 400, bad: true},
		{operation: "GET /sessions/{story}/export", status: 400, bad: true},
	}
	called := map[string]bool{}
	for _, c := range calls {
		t.Run(strings.TrimSpace(c.operation+" "+c.query+c.body), func(t *testing.T) { s.conform(t, doc, c) })
		method, path, _ := template(c.operation)
		called[method+" "+path] = true
	}
	documented, routes, ofOne := doc.operations(), map[string]bool{}, map[string]bool{}
	for _, pattern := range web.Routes() {
		method, path, _ := strings.Cut(pattern, " ")
		if rest, ok := strings.CutPrefix(path, "/api/v1"); ok {
			routes[method+" "+rest] = true
		}
	}
	same(t, "documented", documented, "a route", routes)
	same(t, "documented", documented, "called here", called)
	for _, op := range ofSession {
		ofOne[strings.Split(op, "?")[0]] = true
	}
	for op := range documented {
		if strings.Contains(op, "{sid}") && !ofOne[op] {
			t.Errorf("%s is not among the paths that the tests of access go through", op)
		}
	}
}

// template is an operation as the document has it, and the session in it.
func template(operation string) (method, path, sid string) {
	method, path, _ = strings.Cut(operation, " ")
	before, rest, ok := strings.Cut(path, "{")
	if !ok {
		return method, path, ""
	}
	sid, after, _ := strings.Cut(rest, "}")
	return method, before + "{sid}" + after, sid
}

func same(t *testing.T, nameA string, a map[string]bool, nameB string, b map[string]bool) {
	t.Helper()
	var all []string
	for op := range a {
		if !b[op] {
			all = append(all, op+" is "+nameA+" and not "+nameB)
		}
	}
	for op := range b {
		if !a[op] {
			all = append(all, op+" is "+nameB+" and not "+nameA)
		}
	}
	sort.Strings(all)
	for _, what := range all {
		t.Error(what)
	}
}

// conform makes a call and holds it against the document.
func (s *site) conform(t *testing.T, doc *contract, c call) {
	t.Helper()
	method, path, sid := template(c.operation)
	if err := doc.allows(method, path, sid, c.query, c.body); (err != nil) != c.bad {
		t.Errorf("the document refuses it: %v", err)
	}
	tok := s.admin
	if c.token != "" {
		tok = "wrong"
	}
	target := strings.Replace(path, "{sid}", sid, 1)
	if c.query != "" {
		target += "?" + c.query
	}
	r := s.request(tok, method, target, strings.NewReader(c.body))
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	var body []byte
	if strings.HasSuffix(path, "/changes") { // it does not end
		body = make([]byte, 100)
		n, err := resp.Body.Read(body)
		must(t, err)
		body = body[:n]
	} else if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != c.status {
		t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, body)
	}
	if err := doc.conforms(method, path, resp.StatusCode, resp.Header, body); err != nil {
		t.Errorf("the answer is not as the document says: %v\n%.500s", err, body)
	}
}
