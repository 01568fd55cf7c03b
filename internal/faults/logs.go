package faults

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// panicIn is the first line of a log that tells of a panic or a data race, or "".
func panicIn(path string) string {
	return findLine(path, "panic:", "fatal error:", "WARNING: DATA RACE")
}

// findLine is the first line of a log that has one of the words, or "".
func findLine(path string, words ...string) string { return findLineFrom(path, 0, words...) }

// findLineFrom is findLine in what comes after so many bytes of the log.
func findLineFrom(path string, from int64, words ...string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, w := range words {
			if strings.Contains(lines.Text(), w) {
				return lines.Text()
			}
		}
	}
	return ""
}

// lastLines is the end of every process's log, n lines each. What went wrong at
// random may never come again, and the logs go with the rig.
func (r *Rig) lastLines(n int) string {
	var all strings.Builder
	for _, p := range r.all() {
		text, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.SplitAfter(string(text), "\n")
		fmt.Fprintf(&all, "--- %s\n%s", p.log, strings.Join(lines[max(0, len(lines)-n-1):], ""))
	}
	return all.String()
}
