//go:build unix

package failpoint

import "syscall"

// die ends the process as kill -9 does: nothing deferred runs.
func die() {
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// halt stops the process until it gets SIGCONT.
func halt() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
