package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

type lsCommand struct {
	State  string        `help:"Only these: live, ending, finished or lost." enum:",live,ending,finished,lost" default:"" placeholder:"STATE"`
	User   string        `help:"Only sessions of this user (of those that are live, the newest 200 are looked at)." placeholder:"NAME"`
	Since  time.Duration `help:"Only sessions seen in the last so long, e.g. 24h." placeholder:"DURATION"`
	Limit  int           `help:"List this many at most; 0 for all." default:"0" placeholder:"N"`
	Format string        `help:"table, or json (one object a line)." enum:"table,json" default:"table"`
	target
}

// Run lists the sessions.
func (c *lsCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if c.Since < 0 || c.Limit < 0 {
		return withStatus(exitUsage, fmt.Errorf("list: --since %v and --limit %d must not be negative", c.Since, c.Limit))
	}
	in, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer in.close()
	filter := recording.Filter{Status: recording.Status(c.State), User: c.User}
	if c.Since > 0 {
		filter.Since = time.Now().Add(-c.Since)
	}
	list := newSessionList(s.Out, c.Format)
	found := 0
	for info, err := range in.library().List(ctx, filter) {
		if err != nil {
			return err
		}
		if err := list.add(info); err != nil {
			return err
		}
		if found++; found == c.Limit {
			break
		}
	}
	if found == 0 && c.Format == "table" {
		fmt.Fprintln(s.Err, "no sessions (record one with: tapedeck record -- bash)")
		return nil
	}
	return list.end()
}

// A sessionList writes sessions as a table or as JSON lines.
type sessionList struct {
	table *tabwriter.Writer
	json  *json.Encoder
}

func newSessionList(w io.Writer, format string) *sessionList {
	if format == "json" {
		return &sessionList{json: json.NewEncoder(w)}
	}
	l := &sessionList{table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(l.table, "SESSION\tSTATE\tSTARTED\tLASTED\tUSER\tHOST\tEVENTS\tSIZE")
	return l
}

func (l *sessionList) add(i recording.Info) error {
	if l.json != nil {
		return l.json.Encode(sessionJSON(i))
	}
	size := "-"
	if i.Bytes > 0 {
		size = bytesText(i.Bytes)
	}
	_, err := fmt.Fprintf(l.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.Session, stateText(i), timeText(i.Started), lasted(i),
		orDash(i.Metadata.User), orDash(i.Metadata.Hostname), eventsText(i), size)
	return err
}

func (l *sessionList) end() error {
	if l.table == nil {
		return nil
	}
	return l.table.Flush()
}

// stateText is the state, and of a finished session how it ended if not well.
func stateText(i recording.Info) string {
	if i.Status == recording.Finished && i.Outcome != "" && i.Outcome != "complete" {
		return i.Outcome
	}
	return string(i.Status)
}

func lasted(i recording.Info) string {
	if i.Started.IsZero() || i.Seen.Before(i.Started) {
		return "-"
	}
	return durationText(i.Seen.Sub(i.Started))
}

func eventsText(i recording.Info) string {
	if i.Events == 0 && i.Status == recording.Live {
		return "-"
	}
	return strconv.FormatInt(i.Events, 10)
}

// jsonInfo is a session as scripts see it.
type jsonInfo struct {
	Session  string    `json:"session"`
	State    string    `json:"state"`
	Outcome  string    `json:"outcome,omitempty"`
	Node     string    `json:"node,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Seen     time.Time `json:"seen,omitzero"`
	Events   int64     `json:"events"`
	Missing  int64     `json:"missing,omitempty"`
	Late     int64     `json:"late,omitempty"`
	Parts    int       `json:"parts"`
	Bytes    int64     `json:"bytes"`
	Key      string    `json:"key,omitempty"`
	Metadata any       `json:"metadata"`
}

func sessionJSON(i recording.Info) jsonInfo {
	return jsonInfo{Session: i.Session, State: string(i.Status), Outcome: i.Outcome, Node: i.Node, Started: i.Started, Seen: i.Seen,
		Events: i.Events, Missing: i.Missing, Late: i.Late, Parts: i.Parts, Bytes: i.Bytes, Key: i.Key, Metadata: i.Metadata}
}
