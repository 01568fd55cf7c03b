package site

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// ticks a second that /proc counts in; it is 100 on every Linux there is.
const ticks = 100

func usageOf(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// The name, in parentheses, may hold anything: fields count from behind it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const user, system, resident = 11, 12, 21
	if len(fields) <= resident {
		return Usage{}, fmt.Errorf("read usage of process %d: %d fields", pid, len(fields))
	}
	var n [3]int64
	var errs []error
	for i, at := range []int{user, system, resident} {
		n[i], err = strconv.ParseInt(string(fields[at]), 10, 64)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return Usage{}, fmt.Errorf("read usage of process %d: %w", pid, err)
	}
	return Usage{CPU: float64(n[0]+n[1]) / ticks, RSS: n[2] * int64(os.Getpagesize())}, nil
}
