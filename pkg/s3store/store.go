package s3store

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A Store keeps objects in one bucket. Its methods may be called from several
// goroutines at once. Keys are whole keys, as [Store.Key] makes them.
type Store struct {
	opt       Options
	log       *slog.Logger
	client    *s3.Client
	transport *http.Transport
	stats     counters
	syncer    *syncer // nil if the store syncs by itself
}

// Open makes a Store. It asks nothing of the store yet: [Store.CheckBucket]
// does. A nil logger logs nothing.
func Open(ctx context.Context, opt Options, log *slog.Logger) (*Store, error) {
	err := opt.Validate()
	if opt.Bucket == "" {
		err = errors.Join(errors.New("bucket: none given (--s3-bucket or TAPEDECK_S3_BUCKET)"), err)
	}
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if opt.Attempts == 0 {
		opt.Attempts = defaultAttempts
	}
	if opt.ReplyTimeout == 0 {
		opt.ReplyTimeout = defaultReplyTimeout
	}
	if opt.Checksum == "" || opt.Checksum == checksumAuto {
		opt.Checksum = checksumCRC64NVME
	}
	s := &Store{opt: opt, log: log}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if opt.SyncDir != "" {
		if s.syncer, err = openSyncer(opt.SyncDir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close lets go of what the Store holds. Nothing else may be called after.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	if s.syncer == nil {
		return nil
	}
	return s.syncer.close()
}

// Options are those that the Store was opened with, defaults filled in.
func (s *Store) Options() Options { return s.opt }

// Key is the key of an object called name: the prefix, a slash and the name.
func (s *Store) Key(name string) string {
	if s.opt.Prefix == "" {
		return name
	}
	return s.opt.Prefix + "/" + name
}

func (s *Store) connect(ctx context.Context) error {
	client, err := s.httpClient()
	if err != nil {
		return err
	}
	load := []func(*config.LoadOptions) error{}
	if s.opt.Region != "" {
		load = append(load, config.WithRegion(s.opt.Region))
	}
	if s.opt.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(s.opt.Profile))
	}
	if s.opt.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(s.opt.AccessKey, s.opt.SecretKey, "")))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return wrap(err, "load the AWS configuration")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	s.opt.Region = cfg.Region
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if s.opt.Endpoint != "" {
			o.BaseEndpoint = aws.String(s.opt.Endpoint)
		}
		traceWith(o, s.opt.Tracer)
		o.UsePathStyle = s.opt.PathStyle
		o.HTTPClient = client
		// The one place where requests are retried; see the package comment.
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts = s.opt.Attempts
			r.MaxBackoff = time.Second // who can wait for longer calls again
		})
		o.DisableLogOutputChecksumValidationSkipped = true
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
		if s.algorithm() == "" {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	return nil
}

func (s *Store) httpClient() (aws.HTTPClient, error) {
	tlsConf := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.opt.CAFile != "" {
		pool, err := caPool(s.opt.CAFile)
		if err != nil {
			return nil, err
		}
		tlsConf.RootCAs = pool
	}
	s.transport = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig = tlsConf
		t.MaxIdleConnsPerHost = 64
		t.ResponseHeaderTimeout = s.opt.ReplyTimeout
	}).GetTransport()
	c := &http.Client{Transport: s.transport, CheckRedirect: redirect}
	return &countingClient{next: c, counters: &s.stats}, nil
}

// redirect follows only those redirects that keep method and body. The others
// are S3's way to say that the region is wrong.
func redirect(req *http.Request, via []*http.Request) error {
	if req.Response != nil && len(via) < 5 {
		switch req.Response.StatusCode {
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			return nil
		}
	}
	return http.ErrUseLastResponse
}

// writing is called before a write, for what durable wants to know.
func (s *Store) writing() (failures uint64) {
	if s.syncer == nil {
		return 0
	}
	return s.syncer.failures.Load()
}

// durable returns when what has been written before is on disk. failures is what
// writing returned before that was begun.
func (s *Store) durable(ctx context.Context, failures uint64) error {
	if s.syncer == nil {
		return nil
	}
	return s.syncer.syncSince(ctx, failures)
}
