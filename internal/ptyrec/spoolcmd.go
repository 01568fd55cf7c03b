package ptyrec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// A SpoolCommand is the spool command of the producer: what record left on disk
// because the bus was away.
type SpoolCommand struct {
	Ls   spoolLs   `cmd:"" help:"List what waits on disk for the bus."`
	Send spoolSend `cmd:"" help:"Send it, now, and take away what was sent. Sessions that are being recorded send themselves."`
}

type spoolLs struct {
	Spool SpoolDir `embed:""`
	JSON  bool     `name:"json" help:"One JSON object a session and line."`
}

// A spoolLine is a session as ls --json has it.
type spoolLine struct {
	Session string    `json:"session"`
	Node    string    `json:"node"`
	First   int64     `json:"first"`
	Next    int64     `json:"next"`
	Events  int64     `json:"events"`
	Bytes   int64     `json:"bytes"`
	Written time.Time `json:"written"`
	State   string    `json:"state"`
	File    string    `json:"file"`
}

// Run prints a line for each session, and what all of them take.
func (c *spoolLs) Run(_ context.Context, d Deps) error {
	dir, err := c.Spool.open(environ(d.Environ))
	if err != nil {
		return err
	}
	names, err := dir.Names()
	if err != nil {
		return err
	}
	var lines []spoolLine
	for _, name := range names {
		info, err := dir.Look(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		h := info.Header
		lines = append(lines, spoolLine{
			Session: h.SID, Node: h.Node, First: h.First, Next: info.Next, Events: info.Events, Bytes: info.Bytes,
			Written: info.Written.UTC().Truncate(time.Second), State: spoolState(info, err), File: name,
		})
	}
	if c.JSON {
		enc := json.NewEncoder(d.Stdout)
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	return printSpool(d, dir, lines)
}

func printSpool(d Deps, dir *spool.Dir, lines []spoolLine) error {
	if len(lines) > 0 {
		w := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SESSION\tNODE\tEVENTS\tBYTES\tWRITTEN\tSTATE")
		for _, l := range lines {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", l.Session, l.Node, l.Events, l.Bytes, l.Written.Format(time.DateTime), l.State)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	u, err := dir.Usage()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.Stdout, "%s in %s, %d bytes of %d\n", plural(int64(u.Sessions), "session"), dir.Path(), u.Bytes, u.Max)
	return err
}

func spoolState(info spool.Info, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case info.Refused != "":
		return "refused by the bus: " + info.Refused
	case info.InUse:
		return "its producer runs"
	case info.Ended:
		return "ended, not sent"
	}
	return "its producer is gone, not sent"
}

type spoolSend struct {
	Spool          SpoolDir      `embed:""`
	ConnectTimeout time.Duration `name:"connect-timeout" default:"10s" env:"TAPEDECK_CONNECT_TIMEOUT" help:"How long to try to reach the bus."`
}

// Run sends the sessions of every node that has some, and says what became of
// each. It fails if one stays behind whose producer is gone.
func (c *spoolSend) Run(ctx context.Context, d Deps) error {
	dir, err := c.Spool.open(environ(d.Environ))
	if err != nil {
		return err
	}
	names, err := dir.Names()
	if err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	conn, layout, err := d.Connect(soon)
	if err != nil {
		return err
	}
	defer conn.Close()
	failed := 0
	for node := range nodesOf(dir, names) {
		rec, err := recorder.New(conn, layout, recorder.Options{Node: node, Policy: recorder.PolicySpool, Spool: dir, Logger: d.Logger})
		if err != nil {
			return err
		}
		err = rec.SendSpool(ctx, func(sent recorder.Sent) {
			if sent.Info.Header.Node == node && !reportSent(d, sent) {
				failed++
			}
		})
		if err = errors.Join(err, rec.Close(ctx)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := dir.Look(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(d.Stderr, "producer: %v\n", err)
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s could not be sent", plural(int64(failed), "session"))
	}
	return nil
}

func nodesOf(dir *spool.Dir, names []string) map[string]bool {
	nodes := map[string]bool{}
	for _, name := range names {
		if info, err := dir.Look(name); err == nil {
			nodes[info.Header.Node] = true
		}
	}
	return nodes
}

// reportSent is false if a person should look.
func reportSent(d Deps, sent recorder.Sent) bool {
	h := sent.Info.Header
	switch {
	case sent.Err == nil:
		fmt.Fprintf(d.Stdout, "sent session %s (%s)\n", h.SID, plural(sent.Info.Events, "event"))
	case errors.Is(sent.Err, spool.ErrInUse):
		fmt.Fprintf(d.Stdout, "session %s is being recorded\n", h.SID)
	default:
		fmt.Fprintf(d.Stderr, "producer: session %s is not sent: %v\n", h.SID, sent.Err)
		return false
	}
	return true
}
