package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Sink is where batches go. Its method may be called from several goroutines,
// for different batches.
type Sink interface {
	// Send hands over a batch. When it returns nil the sink has the batch, as
	// durably as it keeps anything. After an error it may have it or not; the
	// same batch comes again then, with the same id and the same content. It
	// does not retry. Its error wraps ErrRefused if the batch will never be
	// taken, and is or wraps a [*RetryAfterError] if the sink has said when it
	// wants it again.
	Send(ctx context.Context, b *Batch) error
}

// ErrRefused is in the error of a sink that will never take the batch, whatever
// happens to sink or network.
var ErrRefused = errors.New("batch is refused for good")

// A RetryAfterError is an error of a sink that has said how long to leave it alone.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

func (e *RetryAfterError) Error() string {
	return fmt.Sprintf("%v (again in %s)", e.Err, e.After)
}

func (e *RetryAfterError) Unwrap() error { return e.Err }

// An ObjectStore keeps objects. Its methods may be called from several goroutines.
type ObjectStore interface {
	// Put stores an object durably if there is none of that key; else its error
	// wraps s3store.ErrExists. After any other error it may be stored or not.
	Put(ctx context.Context, key string, body []byte, ifAbsent bool) error
	// Key is the whole key of an object called name.
	Key(name string) string
}

// newSink makes the sink that cfg, which is valid, describes.
func newSink(cfg SinkConfig, deps Deps) (Sink, error) {
	switch cfg.Kind {
	case KindS3, KindParquet:
		if deps.Store == nil {
			return nil, errors.New("needs a store")
		}
		name, suffix := "access/", ".json.z"
		if cfg.Kind == KindParquet {
			name, suffix = "access-parquet/", ".parquet"
		}
		return &objectSink{store: deps.Store, dir: name, suffix: suffix, deflated: cfg.Kind == KindS3}, nil
	case KindHTTP, KindWebhook:
		return newHTTPSink(cfg, deps.HTTP)
	case KindNATS:
		return &natsSink{conn: deps.Conn, subject: cfg.Subject, deflated: cfg.Format == FormatJSONZ}, nil
	case KindStdout:
		return &writerSink{w: deps.Stdout, lines: cfg.Format == FormatLines}, nil
	}
	return nil, fmt.Errorf("kind %q is not known", cfg.Kind)
}

// Deps is what a consumer works with.
type Deps struct {
	Conn   *bus.Conn
	Layout bus.Layout   // as installed
	Store  ObjectStore  // for sinks in S3
	Stdout io.Writer    // for the stdout sink; nil: os.Stdout
	HTTP   *http.Client // for http and webhook; nil: one of its own

	Log    *slog.Logger // may be nil
	Meter  metric.Meter // may be nil
	Tracer trace.Tracer // may be nil; a span for each batch

	// For tests.
	wrapSink   func(name string, s Sink) Sink
	wrapLedger func(ledgerStore) ledgerStore
}
