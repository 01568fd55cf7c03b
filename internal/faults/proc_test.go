package faults

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestSIGTERMBeforeTheProcessCouldTakeIt(t *testing.T) {
	for _, c := range []struct {
		name, script string
		unborn       bool
	}{
		{"nothing said", "exec sleep 60", true},
		{"had begun", "echo working; exec sleep 60", false},
		{"status of its own", "trap 'exit 3' TERM; sleep 60 & wait", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProc(t.TempDir(), "program", "/bin/sh", nil, "-c", c.script)
			// What an earlier one of the same name has said does not count.
			if err := os.WriteFile(p.log, []byte("of another\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := p.start(); err != nil {
				t.Fatal(err)
			}
			if !c.unborn {
				time.Sleep(500 * time.Millisecond) // until the shell has got there
			}
			if err := p.stop(10 * time.Second); err == nil {
				t.Fatal("the program ended well")
			}
			if got := p.unborn(); got != c.unborn {
				text, _ := os.ReadFile(p.log)
				t.Errorf("unborn: %v, want %v; its log: %s", got, c.unborn, strings.TrimSpace(string(text)))
			}
		})
	}
}
