//go:build !unix

package failpoint

import "os"

// die ends the process at once.
func die() { os.Exit(137) }

// halt does nothing where there are no such signals.
func halt() {}
