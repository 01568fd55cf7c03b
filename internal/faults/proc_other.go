//go:build !linux

package faults

import "syscall"

// withParent does nothing where the system cannot kill orphans.
func withParent() *syscall.SysProcAttr { return nil }
