package accesslog

import (
	"fmt"
	"strconv"
	"time"
)

// AppendLine appends the line that a start or an end makes in an access log,
// with its line end; nothing for an alive. Fields stand in this order, separated
// by one space, and those in brackets only where they say something:
//
//	ACCESS START session=ID resource=N proto=tcp|udp src=HOST:PORT dst=HOST:PORT [user=NAME] time=TIME
//	ACCESS END session=ID resource=N proto=tcp|udp src=HOST:PORT dst=HOST:PORT [user=NAME] started=TIME ended=TIME
//	    duration=SECONDSs tx=BYTES rx=BYTES [connections=N] reason=closed|idle|shutdown|reaped
//
// (the second is one line). Times are RFC 3339 in UTC. A text that has a space,
// a quote, or what does not print is written as a Go string, so that a line is
// always one line.
func AppendLine(b []byte, r *Record) []byte {
	switch r.Kind {
	case KindStart:
		b = appendWho(append(b, "ACCESS START"...), r)
		b = appendTime(b, " time=", r.StartedAt)
	case KindEnd:
		b = appendWho(append(b, "ACCESS END"...), r)
		b = appendTime(b, " started=", r.StartedAt)
		b = appendTime(b, " ended=", r.EndedAt)
		b = fmt.Appendf(b, " duration=%.3fs tx=%d rx=%d", r.EndedAt.Sub(r.StartedAt).Seconds(), r.BytesTx, r.BytesRx)
		if r.Connections() > 1 {
			b = fmt.Appendf(b, " connections=%d", r.Connections())
		}
		b = fmt.Appendf(b, " reason=%s", r.Reason)
	default:
		return b
	}
	return append(b, '\n')
}

func appendWho(b []byte, r *Record) []byte {
	b = fmt.Appendf(b, " session=%s resource=%d proto=%s src=", r.SessionID, r.ResourceID, r.Protocol)
	b = appendText(b, r.SourceAddr)
	b = appendText(append(b, " dst="...), r.DestAddr)
	if r.User != "" {
		b = appendText(append(b, " user="...), r.User)
	}
	return b
}

func appendTime(b []byte, name string, t time.Time) []byte {
	return t.UTC().AppendFormat(append(b, name...), "2006-01-02T15:04:05.000Z07:00")
}

func appendText(b []byte, s string) []byte {
	for _, r := range s {
		if r == ' ' || r == '"' || r == '\\' || !strconv.IsPrint(r) {
			return strconv.AppendQuote(b, s)
		}
	}
	return append(b, s...)
}
