package accessrecv

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// An Answer is what a sender is told, as JSON: the body of an HTTP response, and
// the data of a websocket message of type [AnswerType].
type Answer struct {
	Batch    string    `json:"batch,omitempty"`    // the id it has or was given
	Status   int       `json:"status"`             // as of HTTP; 200: all of it is stored
	Stored   int       `json:"stored"`             // records
	Repeated bool      `json:"repeated,omitempty"` // it was stored before
	Error    string    `json:"error,omitempty"`    // on one line
	Refused  []Refusal `json:"refused,omitempty"`  // the first of the records that were not stored
	More     int       `json:"more,omitempty"`     // how many more there are
}

// A Refusal is one record that was not stored.
type Refusal struct {
	Index int    `json:"index"` // in the batch
	Error string `json:"error"`
}

// AnswerType is the type of the message that answers each message on a websocket.
const AnswerType = "tapedeck/access-log-answer"

// errBusy: there is no room now for what came.
var errBusy = errors.New("busy")

// errStorage: it could not be stored, through no fault of the sender.
var errStorage = errors.New("not stored")

// answerTo makes the answer to a batch of which stored records are stored, and
// which had the error.
func answerTo(id string, stored int, err error) Answer {
	a := Answer{Batch: id, Status: statusOf(err), Stored: stored}
	if err == nil {
		return a
	}
	a.Error = oneLine(err.Error())
	if errors.Is(err, errStorage) {
		a.Error = "store batch: " + errStorage.Error() + ", try again" // the rest is for the log
	}
	var bad *accesslog.RecordsError
	if errors.As(err, &bad) {
		for _, r := range bad.Bad {
			a.Refused = append(a.Refused, Refusal{r.Index, oneLine(r.Err.Error())})
		}
		a.More = bad.More
	}
	return a
}

func statusOf(err error) int {
	for _, s := range []struct {
		is     error
		status int
	}{
		{errStorage, http.StatusServiceUnavailable},
		{errBusy, http.StatusServiceUnavailable},
		{errUnauthorized, http.StatusUnauthorized},
		{unpack.ErrEncoding, http.StatusUnsupportedMediaType},
		{accesslog.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{accesslog.ErrCorrupt, http.StatusBadRequest},
		{errBatchID, http.StatusBadRequest},
		{accesslog.ErrRecords, http.StatusUnprocessableEntity},
	} {
		if errors.Is(err, s.is) {
			return s.status
		}
	}
	if err != nil {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

// result names the answer in metrics.
func (a *Answer) result() string {
	switch {
	case a.Repeated:
		return "repeated"
	case a.Status == http.StatusOK:
		return "stored"
	case a.Status == http.StatusUnprocessableEntity:
		return "partly"
	case a.Status == http.StatusUnauthorized:
		return "unauthorized"
	case a.Status >= http.StatusInternalServerError:
		return "later"
	}
	return "refused"
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

var errBatchID = errors.New("bad batch id")

// checkBatchID lets through what can stand in a header and in a log.
func checkBatchID(id string) error {
	const longest = 200
	if len(id) > longest {
		return fmt.Errorf("read batch: %w: %d bytes, limit %d", errBatchID, len(id), longest)
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("read batch: %w: %.40q has more than visible ASCII in it", errBatchID, id)
		}
	}
	return nil
}
