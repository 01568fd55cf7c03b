package stack

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes we may still write in dir's file system.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look for free space in %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // types differ between systems
}

func checkSpace(dir string) (int64, error) {
	free, err := freeSpace(dir)
	if err != nil {
		return 0, err
	}
	if free < minFree {
		return 0, fmt.Errorf("%d MiB are free in the file system of %s, and at least %d MiB are needed: free some, or choose another directory", free>>20, dir, minFree>>20)
	}
	return free, nil
}

// watchSpace warns while free space is short, until ctx is done: first when the
// streams could no longer grow to what they may take, then when writes are
// about to fail.
func (s *running) watchSpace(ctx context.Context) error {
	dir, log, streams := s.cfg.Dir, s.cfg.Log, s.info.Layout.Total()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if free, err := freeSpace(dir); err != nil {
			log.Warn("free space is not known", "err", err)
		} else if free < minFree {
			log.Error("disk is almost full: events will soon be refused", "dir", dir, "free", free)
		} else if free < streams/4 {
			log.Warn("disk is filling up", "dir", dir, "free", free, "streams_may_take", streams)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
