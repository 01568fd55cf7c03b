package ptyrec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// A SpoolDir says where the policy spool keeps events.
type SpoolDir struct {
	Path     string `name:"spool-dir" env:"TAPEDECK_SPOOL_DIR" type:"path" placeholder:"DIR" help:"Where events wait while the bus takes none. Default: /var/spool/tapedeck for root, otherwise tapedeck/spool under $$XDG_STATE_HOME or ~/.local/state."`
	MaxBytes int64  `name:"spool-max-bytes" env:"TAPEDECK_SPOOL_MAX_BYTES" default:"1073741824" placeholder:"BYTES" help:"What the directory may hold, all sessions together; at that, output waits. Default: 1 GiB, which 1,000 interactive sessions take two and a half hours to fill."`
}

func (d SpoolDir) open(env environ) (*spool.Dir, error) {
	path, err := d.path(env)
	if err != nil {
		return nil, err
	}
	return spool.OpenDir(path, d.MaxBytes)
}

func (d SpoolDir) path(env environ) (string, error) {
	if d.Path != "" {
		return d.Path, nil
	}
	if os.Geteuid() == 0 {
		return "/var/spool/tapedeck", nil
	}
	if state := env.get("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "tapedeck", "spool"), nil
	}
	home := env.get("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("open spool: there is no home directory for it")
	}
	return filepath.Join(home, ".local", "state", "tapedeck", "spool"), nil
}

// sendLeftovers sends, while this session runs, what earlier ones left.
func (r *run) sendLeftovers(ctx context.Context) {
	if r.spool == nil {
		return
	}
	ctx, r.stopLeftovers = context.WithCancel(ctx)
	r.leftovers.Go(func() {
		if err := r.rec.SendSpool(ctx, nil); err != nil && ctx.Err() == nil {
			r.deps.Logger.Warn("send spool", "err", err)
		}
	})
}

// close lets go of everything, and says what stays on disk.
func (r *run) close() {
	if r.stopLeftovers != nil {
		r.stopLeftovers()
		r.leftovers.Wait()
	}
	_ = r.rec.Close(context.Background()) // the session was ended or let go, and that has been told
	if r.spool == nil {
		return
	}
	info, err := r.spool.Look(spool.NameOf(r.cmd.node(), r.session.ID()))
	switch {
	case errors.Is(err, fs.ErrNotExist): // the bus has it
	case err != nil:
		r.say("%v", err)
	case info.Refused == "":
		r.say("the recording waits in %s (%s) until the bus is back: the next session sends it, and so does 'producer spool send'",
			r.spool.Path(), plural(info.Events, "event"))
	default:
		r.say("%s of the recording stay in %s: the bus refuses them (%s)", plural(info.Events, "event"), r.spool.Path(), info.Refused)
	}
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
