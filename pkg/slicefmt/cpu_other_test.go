//go:build !linux

package slicefmt

import "time"

// cpuTime is the time that f took by the clock.
func cpuTime(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
