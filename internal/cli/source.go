package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/lookaudit"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A source is the session or the file that a command reads.
type source struct {
	What string `arg:"" name:"session-or-file" help:"Session id, or the path of a recording (a path has a / or a dot in it)." placeholder:"SID|FILE"`
}

// isFile: a session id has neither a slash nor a dot in it.
func (s source) isFile() bool { return strings.ContainsAny(s.What, "/.") }

// openRecording opens the source for reading; closing the recording lets go of
// everything. Where a file has the name of a session, the session wins, and the
// file can be named with ./ before it.
func (s source) openRecording(ctx context.Context, t *target, log *slog.Logger) (*opened, error) {
	if s.isFile() {
		rec, err := recording.OpenFile(s.What)
		if err != nil {
			return nil, err
		}
		return &opened{Recording: rec, in: &installation{}}, nil
	}
	if err := bus.ValidName(s.What); err != nil {
		return nil, withStatus(exitUsage, fmt.Errorf("%w: a session id has 1 to 64 of A-Z a-z 0-9 _ -; the path of a file needs a / or a dot", err))
	}
	in, err := t.open(ctx, log)
	if err != nil {
		return nil, err
	}
	rec, err := in.library().Open(ctx, s.What)
	if err != nil {
		in.close()
		return nil, s.hint(err)
	}
	return &opened{Recording: rec, in: in}, nil
}

// looked publishes that somebody looks at the recording of a session, in a form.
// Whoever has the keys of the store can read it without asking, so what cannot be
// published is only told of.
func (o *opened) looked(ctx context.Context, s source, format string, log *slog.Logger) {
	if s.isFile() || o.in.conn == nil {
		return
	}
	look := lookaudit.Look{Session: s.What, User: account(), Format: format}
	if m, _ := o.Manifest(); m != nil {
		look.Kind = m.Metadata.Kind
	}
	if err := lookaudit.Publish(ctx, o.in.conn, look); err != nil {
		log.Warn("the audit log does not say that this recording was looked at", "session", s.What, "err", err)
	}
}

// account is who runs this command.
func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid-%d", os.Getuid())
}

// hint says what to do about a session that is not there.
func (s source) hint(err error) error {
	if !errors.Is(err, recording.ErrNotFound) {
		return err
	}
	if _, statErr := os.Stat(s.What); statErr == nil || !errors.Is(statErr, fs.ErrNotExist) {
		return withStatus(exitMissing, fmt.Errorf("%w (for the file of that name say ./%s; see the sessions with: tapedeck ls)", err, s.What))
	}
	return withStatus(exitMissing, fmt.Errorf("%w (see the sessions with: tapedeck ls)", err))
}

// opened is a recording with what it was opened through.
type opened struct {
	*recording.Recording
	in *installation
}

func (o *opened) close() {
	_ = o.Close()
	o.in.close()
}

// waitFinished waits until the session's recording is finished, at most for d.
// A session that is not known yet may still come.
func waitFinished(ctx context.Context, lib *recording.Library, sid string, d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		info, err := lib.Find(ctx, sid)
		if err == nil && info.Status == recording.Finished {
			return nil
		}
		if err != nil && !errors.Is(err, recording.ErrNotFound) {
			return err
		}
		if !time.Now().Before(deadline) {
			if err != nil {
				return withStatus(exitMissing, err)
			}
			return withStatus(exitIncomplete, fmt.Errorf("session %s is not finished after %v: it is %s", sid, d, info.Status))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(100*time.Millisecond, max(time.Until(deadline), time.Millisecond))):
		}
	}
}
