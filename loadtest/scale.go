package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
)

// scale runs the load with one number of sessions after another, each on an
// installation of its own, and says how what it costs grows. It is given up at the
// first run that cannot be made; one that fails its checks is reported like the others.
func (c *command) scale(ctx context.Context, stdout, stderr io.Writer, log *slog.Logger) (passed bool, err error) {
	var runs []*report.Report
	passed = true
	for _, n := range c.Scale {
		step := *c
		step.Sessions = n
		rep, err := measure(ctx, &step, stderr, log)
		if err != nil {
			return false, fmt.Errorf("%d sessions: %w", n, err)
		}
		for _, reason := range rep.Reasons {
			fmt.Fprintf(stdout, "FAILED with %d sessions: %s\n", n, reason)
		}
		passed = passed && rep.Passed
		runs = append(runs, rep)
	}
	err = report.WriteScale(stdout, runs)
	if c.SVG != "" {
		err = errors.Join(err, report.WriteScaleSVG(c.SVG, runs))
	}
	return passed, err
}

// scalable says what is wrong with the numbers of sessions.
func (c *command) scalable() error {
	var errs []error
	last := 0
	for _, n := range c.Scale {
		if n <= last || n > maxSessions {
			errs = append(errs, fmt.Errorf("--scale %v: not growing numbers of 1 to %d", c.Scale, maxSessions))
			break
		}
		last = n
	}
	if len(c.Scale) > 0 && (c.Dir != "" || c.named() || c.WorkDir != "") {
		errs = append(errs, errors.New("--scale: each number of sessions gets an installation of its own, so none can be named"))
	}
	if len(c.Scale) > 0 && (c.JSON != "" || c.HTML != "" || c.Compare != "") {
		errs = append(errs, errors.New("--json, --html and --compare are of one run, not of --scale"))
	}
	if c.SVG != "" && len(c.Scale) == 0 {
		errs = append(errs, errors.New("--svg draws what --scale finds"))
	}
	return errors.Join(errs...)
}
