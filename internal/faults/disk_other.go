//go:build !linux

package faults

import "errors"

var errNoMount = errors.New("a small disk can be mounted on Linux only")

func mountSmall(string) (func() error, error)      { return nil, errNoMount }
func fillDisk(string, int64) (func() error, error) { return nil, errNoMount }
