//go:build race

package e2e

// The commands under test are built like the test itself.
var raceFlags = []string{"-race"}
