package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// BeRoot runs this process anew as root of a user namespace of its own, where it may
// mount the small disks that scenes fill, and ends with its status. It returns at
// once in a process that is root, and where there can be no such namespace: then a
// scene that needs a small disk says so.
func BeRoot() {
	if os.Getuid() == 0 {
		return
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "faults: no namespace to be root of (%v); scenes that fill a disk will not work\n", err)
		return
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}
