package web

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// maxLabel bounds a label, in runes: events can say a lot.
const maxLabel = 200

func markerOf(at int64, rec slicefmt.Record, one *events.OneOf) Marker {
	m := Marker{TMS: at, Index: rec.Index, Type: string(rec.Type)}
	if e, err := events.Unwrap(one); err == nil {
		m.Code = e.GetMetadata().GetCode()
	}
	m.Label = label(labelOf(one))
	return m
}

// labelOf is what happened, in a few words.
func labelOf(one *events.OneOf) string {
	switch e := one.GetEvent().(type) {
	case *events.OneOf_SessionJoin:
		return e.SessionJoin.GetUser().GetUser()
	case *events.OneOf_SessionLeave:
		return e.SessionLeave.GetUser().GetUser()
	case *events.OneOf_Resize:
		return strings.Replace(e.Resize.GetTerminalSize(), ":", "x", 1)
	case *events.OneOf_SessionCommand:
		return strings.Join(append([]string{e.SessionCommand.GetPath()}, e.SessionCommand.GetArgv()...), " ")
	case *events.OneOf_SessionDisk:
		return e.SessionDisk.GetPath()
	case *events.OneOf_SessionNetwork:
		return e.SessionNetwork.GetDstAddr()
	case *events.OneOf_Scp:
		return e.Scp.GetAction() + " " + e.Scp.GetPath()
	case *events.OneOf_Sftp:
		return e.Sftp.GetPath()
	case *events.OneOf_Exec:
		return e.Exec.GetCommand().GetCommand()
	case *events.OneOf_DesktopClipboardSend:
		return strconv.Itoa(int(e.DesktopClipboardSend.GetLength())) + " bytes"
	case *events.OneOf_DesktopClipboardReceive:
		return strconv.Itoa(int(e.DesktopClipboardReceive.GetLength())) + " bytes"
	case *events.OneOf_ClientDisconnect:
		return e.ClientDisconnect.GetReason()
	}
	return ""
}

// label is text that can stand anywhere: short, and without what a terminal would
// take for a command.
func label(s string) string {
	n := 0
	clean := strings.Map(func(r rune) rune {
		if n++; n > maxLabel {
			return -1
		}
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if n > maxLabel {
		clean += "…"
	}
	return clean
}

func parseSize(text string) (cols, rows int, err error) {
	if text == "" {
		return 0, 0, errors.New("no size")
	}
	return cast.ParseSize(text, ':')
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// damageKind is the kind of problem that damage is.
func damageKind(err error) string {
	if errors.Is(err, slicefmt.ErrTruncated) {
		return "truncated"
	}
	return "corrupt"
}
