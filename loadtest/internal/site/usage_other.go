//go:build !linux

package site

import "errors"

// usageOf knows /proc only.
func usageOf(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }
