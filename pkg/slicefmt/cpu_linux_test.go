package slicefmt

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the time that the processor spent on f.
func cpuTime(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime()
	f()
	return threadTime() - start
}

// threadTime is exact, where getrusage counts in ticks of some milliseconds: as long
// as a round here takes.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
