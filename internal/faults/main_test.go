package faults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
)

// programs are the services, built once for all tests.
var programs Programs

func TestMain(m *testing.M) {
	Child()
	BeRoot()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tapedeck-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer removeAll(dir)
	if programs, err = Build(context.Background(), dir, buildFlags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
