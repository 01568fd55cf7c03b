// Loadtest puts load on an installation, reads every recording back, compares it with
// what was published, and says how it went. See loadtest --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/site"
)

func main() {
	if site.IsService() {
		signal.Ignore(os.Interrupt)
		os.Exit(site.Serve(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
