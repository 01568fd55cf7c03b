package faults

import (
	"bufio"
	"os"
	"strings"
)

// panicIn is the first line of a log that tells of a panic or a data race, or "".
func panicIn(path string) string {
	return findLine(path, "panic:", "fatal error:", "WARNING: DATA RACE")
}

// findLine is the first line of a log that has one of the words, or "".
func findLine(path string, words ...string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
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
