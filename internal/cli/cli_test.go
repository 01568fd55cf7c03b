package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestExitStatusIsSaidInOneLine(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
		said string
	}{
		{"nothing wrong", nil, exitOK, ""},
		{"an error", errors.New("it broke"), exitFailed, "tapedeck: it broke\n"},
		{"several errors", errors.Join(errors.New("one"), errors.New("two")), exitFailed, "tapedeck: one; two\n"},
		{"a status", withStatus(exitCorrupt, errors.New("bad part")), exitCorrupt, "tapedeck: bad part\n"},
		{"a status that was told", withStatus(exitTruncated, nil), exitTruncated, ""},
		{"a wrapped status", fmt.Errorf("export: %w", withStatus(exitTruncated, errors.New("short"))), exitTruncated, "tapedeck: export: short\n"},
		{"interrupted", fmt.Errorf("read: %w", context.Canceled), exitInterrupted, "tapedeck: interrupted\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var said strings.Builder
			if got := exitStatus(&said, program, test.err); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
			if said.String() != test.said {
				t.Errorf("said %q, want %q", said.String(), test.said)
			}
		})
	}
}

func TestTextForPeople(t *testing.T) {
	for got, want := range map[string]string{
		bytesText(0):                          "0 B",
		bytesText(1023):                       "1023 B",
		bytesText(1536):                       "1.5 KiB",
		bytesText(5 << 20):                    "5.0 MiB",
		bytesText(1 << 62):                    "4.0 EiB",
		durationText(85 * time.Millisecond):   "85ms",
		durationText(4200 * time.Millisecond): "4.2s",
		durationText(3*time.Minute + 7e9):     "3m07s",
		durationText(62 * time.Minute):        "1h02m",
		clean("joe\x1b]52;c;eA==\a"):          "joe\uFFFD]52;c;eA==\uFFFD",
		orDash(""):                            "-",
		timeText(time.Time{}):                 "-",
		oneLine("a\nb\r\nc"):                  "a; b; c",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
