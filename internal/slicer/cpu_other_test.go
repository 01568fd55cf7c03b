//go:build !linux

package slicer_test

import "time"

var started = time.Now()

// processTime is the time by the clock.
func processTime() time.Duration { return time.Since(started) }
