// Package kubernetes tests the manifests in deploy/kubernetes: each folder is built as
// kubectl builds it, and every object is held against the schema of its kind, with
// unknown fields refused: that which Kubernetes publishes with its source, and that of KEDA's
// own definitions. What a schema does not say is tested too: that selectors meet their
// pods, that pods are locked down, that what is referred to is there.
//
// It is a module of its own because nothing else wants Kustomize. Nothing is applied:
// there is no cluster where this runs.
package kubernetes
