package s3store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Outcomes that a caller can act on, for [errors.Is].
var (
	// ErrNotFound means that there is no such object, or no such bucket.
	ErrNotFound = errors.New("not found")
	// ErrNoBucket is the ErrNotFound of a bucket that is not there, as far as the
	// store says so: to a HEAD it does not.
	ErrNoBucket = fmt.Errorf("the bucket is %w", ErrNotFound)
	// ErrExists means that the key is taken and was left as it was.
	ErrExists = errors.New("object exists already")
	// ErrUploadGone means that the multipart upload takes no more: it was
	// completed or aborted, by us, by somebody else or by a lifecycle rule.
	ErrUploadGone = errors.New("upload is gone")
	// ErrBadPart means that an upload was not completed because a listed part
	// is missing, has another ETag, is out of order or is too small.
	ErrBadPart = errors.New("part is missing or differs")
	// ErrRange means that a range begins beyond the end of the object.
	ErrRange = errors.New("range is outside the object")
	// ErrRefused means that the store knows us not, or does not allow it.
	ErrRefused = errors.New("refused by the store (check the access key and secret, the machine's clock, and that the key's policy allows this call)")
	// ErrUnreachable means that no answer came at all.
	ErrUnreachable = errors.New("store is unreachable")
)

// A storeError says what was tried and what came of it in one line. It wraps
// the sentinel, if there is one, and what the SDK said.
type storeError struct {
	what     string
	sentinel error
	cause    error
}

func (e *storeError) Error() string {
	if e.sentinel == nil {
		return e.what + ": " + brief(e.cause)
	}
	for _, s := range []error{ErrRefused, ErrBadPart, ErrUnreachable} { // these say little by themselves
		if errors.Is(e.sentinel, s) {
			return e.what + ": " + s.Error() + ": " + brief(e.cause)
		}
	}
	return e.what + ": " + e.sentinel.Error()
}

func (e *storeError) Unwrap() []error {
	if e.sentinel == nil {
		return []error{e.cause}
	}
	return []error{e.sentinel, e.cause}
}

// wrap returns nil for nil, else what was tried with what came of it.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &storeError{what: fmt.Sprintf(format, args...), sentinel: classify(err), cause: err}
}

var sentinels = map[string]error{
	"NoSuchUpload":                 ErrUploadGone,
	"NoSuchKey":                    ErrNotFound,
	"NoSuchBucket":                 ErrNoBucket,
	"NotFound":                     ErrNotFound,
	"PreconditionFailed":           ErrExists,
	"InvalidPart":                  ErrBadPart,
	"InvalidPartOrder":             ErrBadPart,
	"EntityTooSmall":               ErrBadPart,
	"InvalidRange":                 ErrRange,
	"AccessDenied":                 ErrRefused,
	"AllAccessDisabled":            ErrRefused,
	"AccountProblem":               ErrRefused,
	"InvalidAccessKeyId":           ErrRefused,
	"SignatureDoesNotMatch":        ErrRefused,
	"RequestTimeTooSkewed":         ErrRefused,
	"ExpiredToken":                 ErrRefused,
	"InvalidToken":                 ErrRefused,
	"KMS.AccessDenied":             ErrRefused,
	"KMS.DisabledException":        ErrRefused,
	"KMS.NotFoundException":        ErrRefused,
	"AuthorizationHeaderMalformed": ErrRefused,
}

// classify finds the sentinel of an error of the SDK; nil if it has none. The
// answer to a HEAD has no body and so no code: there the status decides.
func classify(err error) error {
	for _, s := range []error{ErrNoBucket, ErrNotFound, ErrExists, ErrUploadGone, ErrBadPart, ErrRange, ErrRefused, ErrUnreachable} {
		if errors.Is(err, s) {
			return s
		}
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if s, ok := sentinels[api.ErrorCode()]; ok {
			return s
		}
	}
	switch status(err) {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusPreconditionFailed:
		return ErrExists
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrRange
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrRefused
	case 0:
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" && !errors.Is(err, context.Canceled) {
			return ErrUnreachable
		}
	}
	return nil
}

// status is the HTTP status of the answer; 0 if there was none.
func status(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) && re.Response != nil {
		return re.HTTPStatusCode()
	}
	return 0
}

// brief says in a few words what the SDK says in many.
func brief(err error) string {
	var b strings.Builder
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		b.WriteString(strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": "))
		if s := status(err); s != 0 {
			fmt.Fprintf(&b, " (status %d", s)
			var re *awshttp.ResponseError
			if errors.As(err, &re) && re.RequestID != "" {
				b.WriteString(", request " + re.RequestID)
			}
			b.WriteString(")")
		}
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded.Error()
	default:
		b.WriteString(root(err).Error())
	}
	var tries *retry.MaxAttemptsError
	if errors.As(err, &tries) {
		fmt.Fprintf(&b, ", after %d attempts", tries.Attempt)
	}
	return b.String()
}

// root leaves out the SDK's and the HTTP client's words around an error of the
// network or of ours.
func root(err error) error {
	var op *smithy.OperationError
	if errors.As(err, &op) {
		err = op.Err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err
}
