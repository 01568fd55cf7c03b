package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// `up` is killed in the middle of three sessions and started again on the same
// directory. The sessions' producers go on; nothing is lost or doubled.
func TestKilledInTheMiddleOfThreeSessions(t *testing.T) {
	in := startInstallation(t)
	const lines = 400
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	script := fmt.Sprintf(`for i in $(seq 1 %d); do echo "line $i of $0"; sleep 0.01; done`, lines)
	sids := []string{uuid.NewString(), uuid.NewString(), uuid.NewString()}
	var wait sync.WaitGroup
	failed := make(chan error, len(sids))
	shown := make([]*syncBuffer, len(sids))
	for i, sid := range sids {
		shown[i] = new(syncBuffer)
		wait.Go(func() {
			cmd := in.command(ctx, "record", "--pty", "always", "--session-id", sid, "--", "bash", "-c", script, sid)
			cmd.Stdout, cmd.Stderr = shown[i], new(strings.Builder)
			if err := cmd.Run(); err != nil {
				failed <- fmt.Errorf("record %s: %w: %s", sid, err, cmd.Stderr)
			}
		})
	}
	for i := range shown {
		for !strings.Contains(shown[i].String(), "line 50 of") && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
	in.kill()
	time.Sleep(500 * time.Millisecond)
	in.start()
	wait.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	for _, sid := range sids {
		in.must(t, "verify", "--wait", "90s", sid)
		var want strings.Builder
		for i := 1; i <= lines; i++ {
			fmt.Fprintf(&want, "line %d of %s\r\n", i, sid)
		}
		if got := in.must(t, "export", sid, "--format", "text"); got != want.String() {
			t.Errorf("session %s: %d bytes of text, want %d; it ends with %q", sid, len(got), want.Len(), tail(got))
		}
		in.must(t, "replay", sid)
	}
}

func tail(s string) string { return s[max(0, len(s)-80):] }
