package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A source is a stream that lanes read, and how its messages are read.
type source struct {
	stream, filter string
	poison         string // subject under which its bad messages are kept, without the sequence
	// parse returns what is good of a message and, if not all is, why. It has
	// no other inputs than the message.
	parse func(m jetstream.Msg, seq uint64) ([]item, error)
}

// accessSource reads records. encode may be nil.
func accessSource(encode func(*accesslog.Record) ([]byte, error)) source {
	return source{
		stream: bus.StreamAccess, filter: bus.AccessSubject(">"), poison: poisonPrefix + "access",
		parse: func(m jetstream.Msg, _ uint64) ([]item, error) {
			if v := m.Headers().Get(bus.HeaderVersion); v != "" {
				if n, err := strconv.Atoi(v); err != nil || n > accesslog.MessageVersion {
					return nil, fmt.Errorf("message of version %.20q, newer than %d", v, accesslog.MessageVersion)
				}
			}
			recs, err := accesslog.ParseRecords(m.Data())
			items := make([]item, len(recs))
			for i := range recs {
				items[i].rec = recs[i]
				if encode == nil {
					continue
				}
				b, encErr := encode(&recs[i])
				if encErr != nil { // a year beyond 9999, say: JSON has no form for it
					return nil, encErr
				}
				items[i].json = b
			}
			return items, err
		},
	}
}

// notifySource reads notifications.
func notifySource() source {
	return source{
		stream: bus.StreamNotify, filter: bus.NotifySubject(">"), poison: poisonPrefix + "notify",
		parse: func(m jetstream.Msg, seq uint64) ([]item, error) {
			if !json.Valid(m.Data()) {
				return nil, errors.New("notification is not JSON")
			}
			id := m.Headers().Get(HeaderID)
			if id == "" {
				id = m.Subject() + "/" + strconv.FormatUint(seq, 10)
			}
			return []item{{json: m.Data(), id: id}}, nil
		},
	}
}
