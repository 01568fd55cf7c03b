package s3store

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Options say where recordings are kept. The tags are for kong; the zero value
// of every field but Bucket is good, and stands for the default in its tag.
type Options struct {
	Bucket   string `name:"s3-bucket" help:"Bucket that recordings go to." placeholder:"NAME" env:"TAPEDECK_S3_BUCKET"`
	Prefix   string `name:"s3-prefix" help:"Put before every key, with a slash between. Several installations can share a bucket this way." placeholder:"PATH" env:"TAPEDECK_S3_PREFIX"`
	Endpoint string `name:"s3-endpoint" help:"URL of the store (http or https), for any store but AWS." placeholder:"URL" env:"TAPEDECK_S3_ENDPOINT"`
	Region   string `name:"s3-region" help:"Region of the bucket. Without it, the AWS environment or profile says, and us-east-1 if they do not." placeholder:"NAME" env:"TAPEDECK_S3_REGION"`

	// PathStyle is what most stores but AWS need: the bucket is then the first
	// part of the path and not of the host name.
	PathStyle bool `name:"s3-path-style" help:"Put the bucket in the path, not in the host name." env:"TAPEDECK_S3_PATH_STYLE"`

	// Without AccessKey and Profile the SDK's default credential chain is used:
	// environment, shared files, web identity, container and instance roles.
	AccessKey string `name:"s3-access-key" help:"Access key. Without one, the AWS default credential chain is used." placeholder:"KEY" env:"TAPEDECK_S3_ACCESS_KEY"`
	SecretKey string `name:"s3-secret-key" help:"Secret of the access key. Better given in the environment, where other users cannot see it." placeholder:"SECRET" env:"TAPEDECK_S3_SECRET_KEY"`
	Profile   string `name:"s3-profile" help:"Profile of the AWS configuration files." placeholder:"NAME" env:"TAPEDECK_S3_PROFILE"`
	CAFile    string `name:"s3-ca-file" help:"PEM file of the certificate authorities that may vouch for the store, instead of the system's." placeholder:"FILE" env:"TAPEDECK_S3_CA_FILE"`

	SSE          string `name:"s3-sse" help:"Encryption at rest to ask for: AES256 (SSE-S3) or aws:kms. Without it, the bucket's default holds." placeholder:"KIND" env:"TAPEDECK_S3_SSE"`
	SSEKMSKeyID  string `name:"s3-sse-kms-key-id" help:"KMS key for aws:kms. Without it, the account's default key." placeholder:"ARN" env:"TAPEDECK_S3_SSE_KMS_KEY_ID"`
	StorageClass string `name:"s3-storage-class" help:"Storage class of recordings. Manifests and late events are always in the bucket's default class." placeholder:"CLASS" env:"TAPEDECK_S3_STORAGE_CLASS"`

	// Checksum is what every part carries for the store to check it by. The
	// newer ones are kept by the store and come back with each part. A store
	// that does not know them refuses the upload or says NotImplemented: it
	// needs md5 (sent as Content-MD5), or none.
	Checksum string `name:"s3-checksum" help:"Checksum that parts carry: auto (crc64nvme), crc64nvme, crc32c, sha256, md5 or none. For stores that lack the newer ones: md5." default:"auto" placeholder:"KIND" env:"TAPEDECK_S3_CHECKSUM"`

	// Attempts is how often one request is sent at most. Longer outages are for
	// the caller to sit out.
	Attempts int `name:"s3-attempts" help:"How often to send a request at most before the call fails (1 to 10)." default:"3" env:"TAPEDECK_S3_ATTEMPTS"`

	// ReplyTimeout ends a request whose answer does not begin. Completing a
	// large recording takes longest: some stores copy its parts first.
	ReplyTimeout time.Duration `name:"s3-reply-timeout" help:"How long the store may take to begin its answer." default:"5m" env:"TAPEDECK_S3_REPLY_TIMEOUT"`

	// SyncDir is set for the embedded gateway only: a directory in the file
	// system that it writes to, which is synced before anything counts as
	// stored.
	SyncDir string `kong:"-"`

	// Tracer, if not nil, has each request be a span of the span in its context.
	Tracer trace.TracerProvider `kong:"-"`
}

const (
	defaultAttempts     = 3
	defaultReplyTimeout = 5 * time.Minute
)

// Names of checksums for Options.Checksum.
const (
	checksumAuto      = "auto"
	checksumCRC64NVME = "crc64nvme"
	checksumCRC32C    = "crc32c"
	checksumSHA256    = "sha256"
	checksumMD5       = "md5"
	checksumNone      = "none"
)

var (
	checksums  = []string{checksumAuto, checksumCRC64NVME, checksumCRC32C, checksumSHA256, checksumMD5, checksumNone}
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	className  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Validate reports everything that is wrong, all at once, or nil. That there is
// no bucket is not wrong by itself: kong validates flags of commands that may
// not need a store. [Open] wants one.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Bucket != "" && !bucketName.MatchString(o.Bucket) {
		bad("bucket %q: not 3 to 63 of a-z 0-9 . - that begin and end with a letter or digit", o.Bucket)
	}
	if err := checkPrefix(o.Prefix); err != nil {
		errs = append(errs, err)
	}
	if err := checkEndpoint(o.Endpoint); err != nil {
		errs = append(errs, err)
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		bad("access key and secret key: one given without the other")
	}
	if o.AccessKey != "" && o.Profile != "" {
		bad("profile %q: an access key is given too; give one of them", o.Profile)
	}
	if o.CAFile != "" {
		if _, err := caPool(o.CAFile); err != nil {
			errs = append(errs, err)
		}
	}
	if o.SSE != "" && o.SSE != "AES256" && o.SSE != "aws:kms" {
		bad("sse %q: neither AES256 nor aws:kms", o.SSE)
	}
	if o.SSEKMSKeyID != "" && o.SSE != "aws:kms" {
		bad("sse-kms-key-id: needs sse aws:kms, have %q", o.SSE)
	}
	if o.StorageClass != "" && !className.MatchString(o.StorageClass) {
		bad("storage class %q: not the name of one", o.StorageClass)
	}
	if o.Checksum != "" && !slices.Contains(checksums, o.Checksum) {
		bad("checksum %q: not one of %s", o.Checksum, strings.Join(checksums, ", "))
	}
	if o.Attempts < 0 || o.Attempts > 10 {
		bad("attempts %d: not 1 to 10", o.Attempts)
	}
	if o.ReplyTimeout < 0 {
		bad("reply timeout %s: negative", o.ReplyTimeout)
	}
	if o.SyncDir != "" && !filepath.IsAbs(o.SyncDir) {
		bad("sync directory %q: not an absolute path", o.SyncDir)
	}
	return errors.Join(errs...)
}

func checkPrefix(p string) error {
	switch {
	case p == "":
		return nil
	case len(p) > 512:
		return fmt.Errorf("prefix: %d bytes, 512 at most", len(p))
	case strings.HasPrefix(p, "/"), strings.HasSuffix(p, "/"):
		return fmt.Errorf("prefix %q: begins or ends with a slash", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("prefix %q: has an empty part, or a dot or two for one", p)
		}
	}
	return nil
}

func checkEndpoint(e string) error {
	if e == "" {
		return nil
	}
	u, err := url.Parse(e)
	switch {
	case err != nil:
		return errors.New("endpoint: not a URL") // which may hold a password: it is not repeated
	case u.User != nil:
		return errors.New("endpoint: has a user in it; give access key and secret key instead")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("endpoint %q: not an http or https URL, such as https://s3.example.com", e)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint %q: has a query or a fragment", e)
	}
	return nil
}

func caPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA file %s: no certificate in it", file)
	}
	return pool, nil
}

// String is for people. It leaves the keys out.
func (o Options) String() string {
	at := o.Endpoint
	if at == "" {
		at = "AWS"
	}
	return fmt.Sprintf("s3 bucket %q, prefix %q at %s", o.Bucket, o.Prefix, at)
}

// GoString is String: %#v shows no keys either.
func (o Options) GoString() string { return o.String() }

// LogValue leaves the keys out.
func (o Options) LogValue() slog.Value {
	return slog.GroupValue(slog.String("bucket", o.Bucket), slog.String("prefix", o.Prefix), slog.String("endpoint", o.Endpoint))
}
