//go:build race

package slicefmt

// raceEnabled is true under the race detector, which makes sync.Pool drop what it
// is given at random and slows compressing by an order of magnitude: the two
// assertions about allocations and speed only log then.
const raceEnabled = true
