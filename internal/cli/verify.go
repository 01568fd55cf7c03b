package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

type verifyCommand struct {
	source
	Wait   time.Duration `help:"Wait at most so long for the recording to be finished." placeholder:"DURATION"`
	Format string        `help:"text or json." enum:"text,json" default:"text"`
	target
}

// Help is the table of exit statuses.
func (c *verifyCommand) Help() string {
	return `Everything is read and held against the manifest beside it: each part's place, size and SHA-256, each event's index, and the sums.

Exit status: 0 good; 3 truncated; 4 corrupt; 5 the recording or its manifest is missing; 6 readable and incomplete (not finished, abandoned, or with gaps); 7 it differs from its manifest; 1 it could not be read.`
}

// Run checks a recording.
func (c *verifyCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	report, err := c.verify(ctx, s, log)
	if err != nil {
		return err
	}
	if c.Format == "json" {
		err = json.NewEncoder(s.Out).Encode(map[string]any{"verdict": report.Verdict, "problems": report.Problems, "problems_found": report.Found,
			"manifest": report.Manifest, "outcome": report.Outcome, "bytes": report.Bytes, "events": report.Counts.Records, "parts": report.Counts.Parts})
	} else {
		err = writeReport(s.Out, c.What, report)
	}
	if err == nil {
		err = verdictStatus(report.Verdict)
	}
	return err
}

func (c *verifyCommand) verify(ctx context.Context, s Streams, log *slog.Logger) (recording.Report, error) {
	if c.isFile() {
		rec, err := recording.OpenFile(c.What)
		if err != nil {
			return recording.Report{}, withStatus(exitMissing, err)
		}
		defer func() { _ = rec.Close() }()
		bar := newProgress(s.Err, "verifying", rec.Size(), false)
		defer bar.done()
		rec.OnRead(func(n int) { bar.add(int64(n)) })
		m, _ := rec.Manifest()
		return recording.Verify(ctx, rec, m)
	}
	in, err := c.open(ctx, log)
	if err != nil {
		return recording.Report{}, err
	}
	defer in.close()
	lib := in.library()
	if c.Wait > 0 {
		if err := waitFinished(ctx, lib, c.What, c.Wait); err != nil {
			return recording.Report{}, c.hint(err)
		}
	}
	bar := newProgress(s.Err, "verifying", -1, false)
	defer bar.done()
	report, err := lib.Verify(ctx, c.What, func(n int) { bar.add(int64(n)) })
	return report, c.hint(err)
}

// writeReport says what was found, the verdict first.
func writeReport(w io.Writer, what string, r recording.Report) error {
	against := "no manifest to check it against"
	if r.Manifest {
		against = "checked against its manifest"
	}
	_, err := fmt.Fprintf(w, "%s: %s: %s\n", what, r.Verdict, reportText(r))
	if err == nil && r.Verdict != recording.Missing {
		_, err = fmt.Fprintf(w, "  %s\n", against)
	}
	for _, p := range r.Problems {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s\n", clean(p))
		}
	}
	if more := r.Found - len(r.Problems); err == nil && more > 0 {
		_, err = fmt.Fprintf(w, "  and %d more\n", more)
	}
	return err
}

func reportText(r recording.Report) string {
	return fmt.Sprintf("%d events in %d parts, %s", r.Counts.Records, r.Counts.Parts, bytesText(r.Bytes))
}

// verdictStatus is the exit status for a verdict, as an error that has been told.
func verdictStatus(v recording.Verdict) error {
	switch v {
	case recording.OK:
		return nil
	case recording.Truncated:
		return withStatus(exitTruncated, nil)
	case recording.Corrupt:
		return withStatus(exitCorrupt, nil)
	case recording.Missing:
		return withStatus(exitMissing, nil)
	case recording.Incomplete:
		return withStatus(exitIncomplete, nil)
	case recording.Mismatch:
		return withStatus(exitDiffers, nil)
	}
	return withStatus(exitFailed, nil)
}
