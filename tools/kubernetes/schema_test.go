package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// The schemas come out of these modules, of which nothing is compiled.
const (
	k8s  = "k8s.io/kubernetes@v1.36.2"
	keda = "github.com/kedacore/keda/v2@v2.20.0"
)

// moduleDir downloads a module and says where it lies.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		t.Fatalf("download %s: %v\n%s", module, err, out)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m.Dir
}

// schemas holds one for each kind that may appear, by "group/version/kind".
type schemas map[string]*jsonschema.Schema

// check says what is wrong with an object.
func (s schemas) check(object map[string]any) error {
	id := kindOf(object)
	schema, ok := s[id]
	if !ok {
		return fmt.Errorf("no schema is known of %s", id)
	}
	return schema.Validate(object)
}

func kindOf(object map[string]any) string {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	return version + "/" + kind
}

func loadSchemas(t *testing.T) schemas {
	t.Helper()
	all := schemas{}
	all.addKubernetes(t, filepath.Join(moduleDir(t, k8s), "api/openapi-spec/swagger.json"))
	all.addDefinition(t, filepath.Join(moduleDir(t, keda), "config/crd/bases/keda.sh_scaledobjects.yaml"))
	return all
}

// addKubernetes takes the kinds of an OpenAPI 2 document.
func (s schemas) addKubernetes(t *testing.T, file string) {
	t.Helper()
	doc := readYAML(t, file)
	definitions := doc["definitions"].(map[string]any)
	for name, d := range definitions {
		strict(d)
		switch { // both are more than their type says
		case strings.HasSuffix(name, ".IntOrString"), strings.HasSuffix(name, ".Quantity"):
			definitions[name] = map[string]any{"type": []any{"string", "integer", "number"}}
		}
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("kubernetes.json", map[string]any{"definitions": definitions}); err != nil {
		t.Fatal(err)
	}
	for name, d := range definitions {
		kinds, _ := d.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue
		}
		k := kinds[0].(map[string]any)
		id := strings.TrimPrefix(fmt.Sprintf("%s/%s/%s", k["group"], k["version"], k["kind"]), "/")
		schema, err := c.Compile("kubernetes.json#/definitions/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s[id] = schema
	}
}

// addDefinition takes the versions of a CustomResourceDefinition.
func (s schemas) addDefinition(t *testing.T, file string) {
	t.Helper()
	spec := readYAML(t, file)["spec"].(map[string]any)
	for _, v := range spec["versions"].([]any) {
		version := v.(map[string]any)
		schema := version["schema"].(map[string]any)["openAPIV3Schema"]
		root := schema.(map[string]any)["properties"].(map[string]any)
		root["metadata"] = map[string]any{"type": "object"}
		strict(schema)
		root["metadata"] = map[string]any{"type": "object"} // it is the API's own, checked elsewhere
		c := jsonschema.NewCompiler()
		if err := c.AddResource("crd.json", schema); err != nil {
			t.Fatal(err)
		}
		compiled, err := c.Compile("crd.json")
		if err != nil {
			t.Fatal(err)
		}
		kind := spec["names"].(map[string]any)["kind"]
		s[fmt.Sprintf("%s/%s/%s", spec["group"], version["name"], kind)] = compiled
	}
}

// strict has a schema refuse fields that it does not name: the API server would
// leave them out in silence.
func strict(schema any) {
	switch x := schema.(type) {
	case []any:
		for _, v := range x {
			strict(v)
		}
	case map[string]any:
		if or, ok := x["x-kubernetes-int-or-string"].(bool); ok && or {
			x["type"] = []any{"string", "integer"}
			delete(x, "anyOf")
		}
		_, named := x["properties"].(map[string]any)
		if _, more := x["additionalProperties"]; named && !more && x["x-kubernetes-preserve-unknown-fields"] != true {
			x["additionalProperties"] = false
		}
		delete(x, "format") // int32 and the like are none of JSON Schema's
		for key, v := range x {
			properties, ok := v.(map[string]any)
			if key != "properties" || !ok {
				strict(v)
				continue
			}
			for _, p := range properties { // whose names are no keywords
				strict(p)
			}
		}
	}
}

func readYAML(t *testing.T, file string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, b)
}

func parse(t *testing.T, b []byte) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}
