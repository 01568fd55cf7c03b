package slicer_test

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the processor time that this process, the servers in it included,
// has taken so far.
func processTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
