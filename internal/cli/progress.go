package cli

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressAfter is how long something may take before a bar shows.
const progressAfter = 2 * time.Second

// A progress is a bar on standard error that shows only on a terminal, and only
// for what takes longer than progressAfter. Its zero value shows nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	start time.Time
}

// newProgress counts up to total, in bytes or, if items, in things; -1 if the
// total is not known.
func newProgress(w io.Writer, what string, total int64, items bool) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{start: time.Now(), bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(!items),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(false),
		progressbar.OptionSetVisibility(false),
	)}
}

// add counts n more.
func (p *progress) add(n int64) {
	if p.bar == nil {
		return
	}
	if !p.bar.IsFinished() && time.Since(p.start) > progressAfter {
		progressbar.OptionSetVisibility(true)(p.bar)
	}
	_ = p.bar.Add64(n) // a bar that cannot be drawn is not worth a failure
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
