package stack

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Bucket is the name of the bucket that recordings are in.
const Bucket = "tapedeck"

// Ports that a new installation takes if they are free.
const (
	DefaultNATSPort = 4222
	DefaultS3Port   = 9000
	DefaultWebPort  = 8470
)

// minFree is the least free space to start with: below it, streams and parts
// would soon not be written.
const minFree = 256 << 20

// A Config says how to run the stack. The zero value of every field but Dir is
// good.
type Config struct {
	Dir string // data directory; made if it is not there

	// NATSPort, S3Port and WebPort: 0 means as last time, or at first the default port
	// if it is free, or else any. They are remembered in the directory.
	NATSPort int
	S3Port   int
	WebPort  int

	// NoAuth lets everybody on this machine watch every recording in the browser.
	NoAuth bool

	// NoSync lets the bus acknowledge events before they are on disk. Losing
	// power then loses the last two minutes of them. For tests and demos.
	NoSync bool

	Layout bus.Layout // of the streams; zero fields: as installed, or the default

	Slicer    *slicer.Config    // nil: the defaults
	Completer *completer.Config // nil: the defaults
	AccessLog *accesslog.Config // nil: the defaults, with S3 as JSON and as Parquet for sinks

	// MetricsAddr is where /metrics, /healthz and /readyz of everything are
	// answered, as HOST:PORT; empty: nowhere.
	MetricsAddr string

	Log *slog.Logger // nil: nothing is logged
}

// Validate reports everything that is wrong, all at once, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("data directory: none given"))
	}
	for _, p := range []struct {
		name string
		port int
	}{{"nats port", c.NATSPort}, {"s3 port", c.S3Port}, {"web port", c.WebPort}} {
		if p.port < 0 || p.port > 65535 {
			errs = append(errs, fmt.Errorf("%s %d: not 0 to 65535", p.name, p.port))
		}
	}
	if c.NATSPort != 0 && c.NATSPort == c.S3Port {
		errs = append(errs, fmt.Errorf("nats port and s3 port: both are %d", c.S3Port))
	}
	if c.WebPort != 0 && (c.WebPort == c.S3Port || c.WebPort == c.NATSPort) {
		errs = append(errs, fmt.Errorf("web port: %d is the bus's or the store's", c.WebPort))
	}
	errs = append(errs, c.Layout.Validate(), telemetry.Options{MetricsAddr: c.MetricsAddr}.Validate())
	if c.Slicer != nil {
		errs = append(errs, c.Slicer.Validate())
	}
	if c.Completer != nil {
		errs = append(errs, c.Completer.Validate())
	}
	if c.AccessLog != nil {
		errs = append(errs, c.AccessLog.Validate())
	}
	return errors.Join(errs...)
}

// Info says what runs, once it runs.
type Info struct {
	Dir     string
	PID     int
	Started time.Time
	NATS    bus.Options     // as a client wants them
	S3      s3store.Options // as a client wants them
	Layout  bus.Layout      // in full
	Metrics string          // where metrics and health are answered, HOST:PORT; empty: nowhere
	Web     WebInfo
	Free    int64 // bytes free in the data directory's file system
}

// WebInfo says how to watch recordings in the browser.
type WebInfo struct {
	URL  string // of the page
	Link string // the page with the token of `up`; empty with NoAuth
	New  bool   // the token was made by this run
}
