package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv"
)

// An accessList writes access sessions.
type accessList interface {
	add(s accessrecv.Session) error
	end() error
}

func newAccessList(w io.Writer, format string) accessList {
	switch format {
	case "json":
		return &accessJSON{json.NewEncoder(w)}
	case "csv":
		return &accessCSV{w: csv.NewWriter(w)}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SESSION\tSTATE\tSTARTED\tLASTED\tUSER\tRESOURCE\tPROTOCOL\tFROM\tTO\tSENT\tRECEIVED\tCONNECTIONS")
	return &accessTable{t}
}

type accessTable struct{ w *tabwriter.Writer }

func (t *accessTable) add(s accessrecv.Session) error {
	state, until := string(s.State), s.EndedAt
	if s.State == accessrecv.Ended && s.Reason != "" {
		state = string(s.Reason)
	}
	if until.IsZero() {
		until = s.Heard
	}
	_, err := fmt.Fprintf(t.w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\n", clean(s.SessionID), state, timeText(s.StartedAt),
		durationText(max(until.Sub(s.StartedAt), 0)), orDash(s.User), s.ResourceID, s.Protocol, orDash(s.SourceAddr), orDash(s.DestAddr),
		bytesText(s.BytesTx), bytesText(s.BytesRx), s.Connections())
	return err
}

func (t *accessTable) end() error { return t.w.Flush() }

// accessJSON writes an object a line, with the names that records have.
type accessJSON struct{ enc *json.Encoder }

type jsonAccess struct {
	SessionID   string    `json:"sessionId"`
	State       string    `json:"state"`
	Reason      string    `json:"reason,omitempty"`
	ResourceID  int64     `json:"resourceId"`
	User        string    `json:"user,omitempty"`
	Node        string    `json:"node,omitempty"`
	SourceAddr  string    `json:"sourceAddr"`
	DestAddr    string    `json:"destAddr"`
	Protocol    string    `json:"protocol"`
	StartedAt   time.Time `json:"startedAt"`
	EndedAt     time.Time `json:"endedAt,omitzero"`
	HeardAt     time.Time `json:"heardAt"`
	BytesTx     int64     `json:"bytesTx"`
	BytesRx     int64     `json:"bytesRx"`
	Connections int64     `json:"connectionCount"`
}

func (j *accessJSON) add(s accessrecv.Session) error {
	return j.enc.Encode(jsonAccess{SessionID: s.SessionID, State: string(s.State), Reason: string(s.Reason), ResourceID: s.ResourceID,
		User: s.User, Node: s.Node, SourceAddr: s.SourceAddr, DestAddr: s.DestAddr, Protocol: s.Protocol, StartedAt: s.StartedAt,
		EndedAt: s.EndedAt, HeardAt: s.Heard, BytesTx: s.BytesTx, BytesRx: s.BytesRx, Connections: s.Connections()})
}

func (j *accessJSON) end() error { return nil }

// accessCSV writes the same columns with a header.
type accessCSV struct {
	w     *csv.Writer
	begun bool
}

func (c *accessCSV) header() error {
	if c.begun {
		return nil
	}
	c.begun = true
	return c.w.Write([]string{"sessionId", "state", "reason", "resourceId", "user", "node", "sourceAddr", "destAddr", "protocol",
		"startedAt", "endedAt", "heardAt", "bytesTx", "bytesRx", "connectionCount"})
}

func (c *accessCSV) add(s accessrecv.Session) error {
	if err := c.header(); err != nil {
		return err
	}
	ended := ""
	if !s.EndedAt.IsZero() {
		ended = s.EndedAt.Format(time.RFC3339Nano)
	}
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	return c.w.Write([]string{s.SessionID, string(s.State), string(s.Reason), n(s.ResourceID), s.User, s.Node, s.SourceAddr, s.DestAddr, s.Protocol,
		s.StartedAt.Format(time.RFC3339Nano), ended, s.Heard.Format(time.RFC3339Nano), n(s.BytesTx), n(s.BytesRx), n(s.Connections())})
}

func (c *accessCSV) end() error {
	if err := c.header(); err != nil {
		return err
	}
	c.w.Flush()
	return c.w.Error()
}
