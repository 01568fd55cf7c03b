package kubernetes

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const root = "../../deploy/kubernetes"

// built are the folders that somebody applies.
var built = []string{root + "/base", root + "/overlays/example"}

type object = map[string]any

// build does what kubectl apply -k does, up to applying.
func build(t *testing.T, dir string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("build %s: %v", dir, err)
	}
	var all []object
	for _, r := range resources.Resources() {
		b, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(t, b))
	}
	if len(all) < 10 {
		t.Fatalf("%s has only %d objects", dir, len(all))
	}
	return all
}

func nameOf(o object) string { return kindOf(o) + " " + at[string](o, "metadata", "name") }

// at is what lies at a path, or nothing.
func at[T any](v any, path ...string) T {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	x, _ := v.(T)
	return x
}

func TestManifestsKeepToTheSchemasOfTheirKinds(t *testing.T) {
	known := loadSchemas(t)
	for _, dir := range built {
		for _, o := range build(t, dir) {
			if err := known.check(o); err != nil {
				t.Errorf("%s: %s: %v", dir, nameOf(o), err)
			}
		}
	}
}

func TestWhatBreaksASchemaIsSeen(t *testing.T) {
	known := loadSchemas(t)
	for name, broken := range map[string]string{
		"an unknown field":     `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicsa: 2, selector: {}, template: {}}}`,
		"a missing field":      `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {}}}`,
		"a wrong type":         `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: x}, spec: {selector: [a]}}`,
		"an unknown version":   `{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: x}}`,
		"deep in a pod":        `{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {template: {spec: {containers: [{name: x, resources: {limit: {}}}]}}}}`,
		"a scaler's":           `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: x}, spec: {scaleTargetRef: {name: x}, minReplicas: 2, triggers: []}}`,
		"a scaler's, required": `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: x}, spec: {scaleTargetRef: {name: x}}}`,
	} {
		if known.check(parse(t, []byte(broken))) == nil {
			t.Errorf("%s is taken: %s", name, broken)
		}
	}
}

// workload is an object that has pods.
type workload struct {
	name string
	pod  object // of its template: spec
	tags object // of its template: labels
}

func workloads(all []object) []workload {
	var w []workload
	for _, o := range all {
		if spec := at[object](o, "spec", "template", "spec"); spec != nil {
			w = append(w, workload{nameOf(o), spec, at[object](o, "spec", "template", "metadata", "labels")})
		}
	}
	return w
}

func TestPodsAreLockedDownWatchedAndBounded(t *testing.T) {
	for _, dir := range built {
		for _, w := range workloads(build(t, dir)) {
			if at[bool](w.pod, "automountServiceAccountToken") || !at[bool](w.pod, "securityContext", "runAsNonRoot") ||
				at[string](w.pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
				t.Errorf("%s: pod is not locked down: %v", w.name, w.pod["securityContext"])
			}
			for _, c := range at[[]any](w.pod, "containers") {
				if drop := at[[]any](c, "securityContext", "capabilities", "drop"); len(drop) != 1 || drop[0] != "ALL" ||
					!at[bool](c, "securityContext", "readOnlyRootFilesystem") || at[object](c, "securityContext")["allowPrivilegeEscalation"] != false {
					t.Errorf("%s: container is not locked down", w.name)
				}
				if at[string](c, "resources", "limits", "memory") == "" || at[string](c, "resources", "requests", "cpu") == "" {
					t.Errorf("%s: container has no bounds", w.name)
				}
				live, ready := at[object](c, "livenessProbe"), at[object](c, "readinessProbe")
				if job := strings.Contains(w.name, "Job"); job == (live != nil) || job == (ready != nil) {
					t.Errorf("%s: container has no probes, or is a job and has some", w.name)
				}
				if w.tags["app.kubernetes.io/component"] != "web" && live != nil && (at[string](live, "httpGet", "path") != "/healthz" || at[string](ready, "httpGet", "path") != "/readyz") {
					t.Errorf("%s: probes ask %v and %v", w.name, live, ready)
				}
			}
		}
	}
}

func TestSelectorsMeetTheirPods(t *testing.T) {
	for _, dir := range built {
		all := build(t, dir)
		pods := workloads(all)
		for _, o := range all {
			for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}, {"spec", "selector"}} {
				want := at[object](o, path...)
				if want == nil || path[len(path)-1] == "selector" && kindOf(o) != "v1/Service" {
					continue
				}
				if !slices.ContainsFunc(pods, func(w workload) bool { return meets(want, w.tags) }) {
					t.Errorf("%s: %s selects no pod of ours: %v", dir, nameOf(o), want)
				}
			}
		}
	}
}

func meets(want, tags object) bool {
	for k, v := range want {
		if tags[k] != v {
			return false
		}
	}
	return true
}

func TestWhatIsReferredToIsThere(t *testing.T) {
	secret := secretKeys(t)
	for _, dir := range built {
		all := build(t, dir)
		there := map[string]bool{}
		for _, o := range all {
			there[nameOf(o)] = true
		}
		for _, w := range workloads(all) {
			if sa := "v1/ServiceAccount " + at[string](w.pod, "serviceAccountName"); !there[sa] {
				t.Errorf("%s: there is no %s", w.name, sa)
			}
			for _, c := range at[[]any](w.pod, "containers") {
				for _, from := range at[[]any](c, "envFrom") {
					if cm := "v1/ConfigMap " + at[string](from, "configMapRef", "name"); !there[cm] {
						t.Errorf("%s: there is no %s", w.name, cm)
					}
				}
				for _, e := range at[[]any](c, "env") {
					ref := at[object](e, "valueFrom", "secretKeyRef")
					if key, _ := ref["key"].(string); ref != nil && (ref["name"] != "tapedeck" || !secret[key]) {
						t.Errorf("%s: %v is not in what make-env.sh makes", w.name, ref)
					}
				}
			}
		}
		for _, o := range all {
			if kindOf(o) == "keda.sh/v1alpha1/ScaledObject" {
				if target := "apps/v1/Deployment " + at[string](o, "spec", "scaleTargetRef", "name"); !there[target] {
					t.Errorf("%s scales %s, which is not there", nameOf(o), target)
				}
			}
			if scaled := there["keda.sh/v1alpha1/ScaledObject tapedeck-slicer"]; scaled && nameOf(o) == "apps/v1/Deployment tapedeck-slicer" {
				if _, has := at[object](o, "spec")["replicas"]; has {
					t.Error("the number of slicers is KEDA's to say, and the Deployment says one too")
				}
			}
		}
	}
}

// secretKeys are the names that the compose stack's script gives to secrets, which the
// secret "tapedeck" is made from.
func secretKeys(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../deploy/compose/make-env.sh")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "for user in "); ok {
			users, _, _ := strings.Cut(rest, ";")
			for _, user := range strings.Fields(users) {
				keys["NATS_"+user+"_PASSWORD"] = true
			}
		}
		if rest, ok := strings.CutPrefix(line, "add "); ok {
			keys[strings.Fields(rest)[0]] = true
		}
	}
	if len(keys) < 9 {
		t.Fatalf("found only %v", slices.Sorted(maps.Keys(keys)))
	}
	return keys
}
