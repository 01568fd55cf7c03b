package faults

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A RowResult is what came of a row.
type RowResult struct {
	Row  Row
	Err  error
	Took time.Duration
}

// RunTable runs rows on several benches at once, each row times times, and returns
// what came of them, in order. told is called after each.
func RunTable(ctx context.Context, dir string, programs Programs, rows []Row, benches, times int, log *slog.Logger, told func(RowResult)) ([]RowResult, error) {
	results := make([]RowResult, len(rows))
	next := make(chan int)
	errs := make(chan error, benches)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range benches {
		at := filepath.Join(dir, fmt.Sprintf("bench-%d", n))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return nil, err
		}
		wg.Go(func() {
			b, err := NewBench(ctx, at, programs, log)
			if err != nil {
				errs <- err
				for range next { // the others have them
				}
				return
			}
			defer b.Close()
			for i := range next {
				res := RowResult{Row: rows[i]}
				began := time.Now()
				for range times {
					if res.Err = b.Run(ctx, rows[i]); res.Err != nil {
						break
					}
				}
				res.Took = time.Since(began)
				mu.Lock()
				results[i] = res
				told(res)
				mu.Unlock()
			}
		})
	}
	for i := range rows {
		next <- i
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		return results, err
	default:
		return results, ctx.Err()
	}
}

const tableHead = `# What goes wrong, and what comes of it

This page is written by ` + "`TABLE=on scripts/faults.sh`" + `; do not edit it.

## Every write, failing

Each row is one run of the real programs against a real NATS server and a real S3 gateway: four sessions (two parts, an idle one with checkpoints and a message from a stranger, 2,000 events, none) are recorded while one
write fails in one way. A row is good if the fault did happen and afterwards every session has its recording, verified against its manifest and
compared byte for byte, in order, with what was produced.

*crash* is kill -9 of the process at that very instruction; another takes over. *stop* is SIGSTOP there: another takes over and finishes, then the
first goes on with what it was about to write; where it *wakes early*, it does so as soon as the other has the partition, and both are at work. *refused* is a write that was not made; *reply lost* one that was made, and the writer is told that
nobody knows.

`

// WriteTable writes the page.
func WriteTable(w io.Writer, results []RowResult, times int) {
	good, sessions := 0, 0
	for _, res := range results {
		if res.Err == nil {
			good++
		}
		sessions += 4 * times
	}
	fmt.Fprint(w, tableHead)
	fmt.Fprintf(w, "%d of %d rows are good; each ran %d times; %d recordings were checked.\n\n", good, len(results), times, sessions)
	fmt.Fprint(w, "| at | fails | what a crash there leaves | result |\n|---|---|---|---|\n")
	for _, res := range results {
		r := res.Row
		at, leaves := fmt.Sprintf("%s: `%s`", r.program, r.name), r.what
		if r.operation != "" {
			at, leaves = fmt.Sprintf("S3: `%s`", r.operation), ""
		}
		if r.Fault != "crash after" && r.Fault != stopped {
			leaves = ""
		}
		verdict := "good"
		if res.Err != nil {
			verdict = "**bad**: " + strings.ReplaceAll(res.Err.Error(), "|", "/")
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", at, r.Fault, leaves, verdict)
	}
}

// WriteScenes writes what came of the scenes.
func WriteScenes(w io.Writer, results []SceneResult, seed uint64, away time.Duration) {
	good := 0
	for _, res := range results {
		if res.Err == nil {
			good++
		}
	}
	fmt.Fprintf(w, `
## Everything else, one at a time

Each scene is an installation of its own, with its servers and services as processes; a service reaches NATS through a TCP proxy that can be cut, and S3
through one that can make trouble. A scene is good if what it says holds and every recording is verified and is, byte for byte, what was produced. A server
that is away is away for %s. Repeat with `+"`SEED=%d scripts/faults.sh scenes`"+`.

%d of %d scenes are good.

| what goes wrong | how, and what has to hold | result |
|---|---|---|
`, away, seed, good, len(results))
	for _, res := range results {
		verdict := "good"
		if res.Err != nil {
			verdict = "**bad**: " + strings.ReplaceAll(res.Err.Error(), "|", "/")
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", res.Scene.Name, res.Scene.What, verdict)
	}
}
