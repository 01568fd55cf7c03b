package faults

import "syscall"

// withParent has the system kill a child whose parent is gone.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
