//go:build !race

package slicefmt

// raceEnabled is false: see race_on_test.go.
const raceEnabled = false
