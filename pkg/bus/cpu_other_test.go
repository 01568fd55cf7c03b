//go:build !linux

package bus_test

import "time"

var started = time.Now()

// cpuTime is the time by the clock.
func cpuTime() time.Duration { return time.Since(started) }
