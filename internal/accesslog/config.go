package accesslog

import (
	"errors"
	"fmt"
	"time"
)

// Config is how access records and notifications are delivered. Its zero value is
// refused; [DefaultConfig] and kong fill in the defaults.
type Config struct {
	Sinks []SinkConfig `name:"sink" sep:";" env:"TAPEDECK_ACCESSLOG_SINKS" placeholder:"KIND,KEY=VALUE..." help:"Where to deliver; may be given several times (in the environment: with semicolons). s3, parquet, http,url=URL, nats,subject=SUBJECT and stdout get access records; webhook,url=URL gets notifications of recordings. Further keys: name (default the kind; names the sink's place in the stream for good), kinds (ended or all), start (all or new), format (http: envelope, json or json.z; nats: json or json.z; stdout: lines or batches), token-file, token-env (bearer token), secret-file, secret-env (HMAC signature), in-flight (batches at once)."`

	Records int           `name:"batch-records" default:"100" env:"TAPEDECK_ACCESSLOG_RECORDS" help:"A batch closes at so many records (1 to 20000)."`
	Bytes   int           `name:"batch-bytes" default:"262144" env:"TAPEDECK_ACCESSLOG_BYTES" help:"A batch closes before it has more bytes of JSON than this (16384 to 8388608). One lane holds up to twice in-flight plus a few batches."`
	Flush   time.Duration `name:"flush" default:"60s" env:"TAPEDECK_ACCESSLOG_FLUSH" help:"A batch closes when its first record has waited so long (10ms to 1h)."`

	ParquetBytes int64         `name:"parquet-bytes" default:"67108864" env:"TAPEDECK_ACCESSLOG_PARQUET_BYTES" help:"A Parquet file closes at about this size (65536 bytes to 1 GiB); held in memory until then."`
	ParquetFlush time.Duration `name:"parquet-flush" default:"5m" env:"TAPEDECK_ACCESSLOG_PARQUET_FLUSH" help:"A Parquet file closes when its first record has waited so long (10ms to 1h)."`

	AckWait  time.Duration `name:"ack-wait" default:"30m" env:"TAPEDECK_ACCESSLOG_ACK_WAIT" help:"How long the bus waits for an acknowledgement before it delivers again (1s to 24h). At least twice the flush times; what comes again early is known and passed over."`
	RetryMin time.Duration `name:"retry-min" default:"500ms" env:"TAPEDECK_ACCESSLOG_RETRY_MIN" help:"First wait before a batch is sent again (1ms to 1m). Waits double, with some chance in them."`
	RetryMax time.Duration `name:"retry-max" default:"1m" env:"TAPEDECK_ACCESSLOG_RETRY_MAX" help:"Longest wait (retry-min to 1h). A batch is sent again for as long as it takes."`
	Timeout  time.Duration `name:"timeout" default:"30s" env:"TAPEDECK_ACCESSLOG_TIMEOUT" help:"How long one try of a batch may take (10ms to 10m)."`
	Drain    time.Duration `name:"drain" default:"10s" env:"TAPEDECK_ACCESSLOG_DRAIN" help:"How long to go on delivering what has been read when told to stop (0 to 10m). What is cut short stays on the bus."`
	Takeover time.Duration `name:"takeover" default:"30s" env:"TAPEDECK_ACCESSLOG_TAKEOVER" help:"A process that stands by takes a sink over when the ledger has been silent for so long (1s to 10m). The worker writes three times as often."`
}

// DefaultConfig is what the tags say. It has no sinks.
func DefaultConfig() Config {
	return Config{Records: 100, Bytes: 256 << 10, Flush: time.Minute, ParquetBytes: 64 << 20, ParquetFlush: 5 * time.Minute,
		AckWait: 30 * time.Minute, RetryMin: 500 * time.Millisecond, RetryMax: time.Minute, Timeout: 30 * time.Second,
		Drain: 10 * time.Second, Takeover: 30 * time.Second}
}

// Validate says everything that is wrong with the configuration at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	between := func(what string, v, low, high time.Duration) {
		if v < low || v > high {
			bad("%s: %s is not within %s to %s", what, v, low, high)
		}
	}
	if len(c.Sinks) == 0 {
		bad("sink: none given; for example --sink s3")
	}
	names := map[string]bool{}
	for _, s := range c.Sinks {
		if err := s.Validate(); err != nil {
			bad("sink %s: %w", s.Name, err)
		}
		if names[s.Name] {
			bad("sink %s: the name is taken by another; give one of them name=...", s.Name)
		}
		names[s.Name] = true
	}
	if c.Records < 1 || c.Records > 20_000 {
		bad("batch-records: %d is not within 1 to 20000", c.Records)
	}
	if c.Bytes < 16<<10 || c.Bytes > 8<<20 {
		bad("batch-bytes: %d is not within 16384 to 8388608", c.Bytes)
	}
	if c.ParquetBytes < 64<<10 || c.ParquetBytes > 1<<30 {
		bad("parquet-bytes: %d is not within 65536 to 1073741824", c.ParquetBytes)
	}
	between("flush", c.Flush, 10*time.Millisecond, time.Hour)
	between("parquet-flush", c.ParquetFlush, 10*time.Millisecond, time.Hour)
	between("ack-wait", c.AckWait, time.Second, 24*time.Hour)
	if longest := max(c.Flush, c.ParquetFlush); c.AckWait < 2*longest {
		bad("ack-wait: %s is not twice the longest flush time, %s", c.AckWait, longest)
	}
	between("retry-min", c.RetryMin, time.Millisecond, time.Minute)
	between("retry-max", c.RetryMax, c.RetryMin, time.Hour)
	between("timeout", c.Timeout, 10*time.Millisecond, 10*time.Minute)
	between("drain", c.Drain, 0, 10*time.Minute)
	between("takeover", c.Takeover, time.Second, 10*time.Minute)
	return errors.Join(errs...)
}

// NeedsStore says whether any of the sinks is in S3.
func (c Config) NeedsStore() bool {
	for _, s := range c.Sinks {
		if s.Kind == KindS3 || s.Kind == KindParquet {
			return true
		}
	}
	return false
}
