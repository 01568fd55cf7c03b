// Command tapedeck runs the all-in-one installation and is the user's command
// for listing, playing, exporting and verifying recordings.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapedeck-io/tapedeck/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(status)
}
