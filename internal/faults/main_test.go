package faults

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
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

// seedOf is the seed that SEED asks for, or else the usual one, or any if that is 0.
func seedOf(t *testing.T, usual uint64) uint64 {
	t.Helper()
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if seed == 0 {
		seed = usual
	}
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("SEED=%d", seed)
	return seed
}
