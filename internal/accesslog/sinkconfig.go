package accesslog

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Kinds of sinks.
const (
	KindS3      = "s3"      // batches as objects
	KindParquet = "parquet" // a table in S3
	KindHTTP    = "http"    // batches to a receiver
	KindNATS    = "nats"    // batches to a subject that a stream takes
	KindStdout  = "stdout"  // records, a line each
	KindWebhook = "webhook" // notifications of recordings, one a request
)

// Formats of a batch.
const (
	FormatEnvelope = "envelope" // {"type":"newt/access-log","data":{"compressed":"<base64>"}}, records as the field has them
	FormatJSON     = "json"     // a JSON array of records
	FormatJSONZ    = "json.z"   // the array in zlib's format; over HTTP with Content-Encoding: deflate
	FormatLines    = "lines"    // a record a line
	FormatBatches  = "batches"  // {"batch":"<id>","records":[...]} a line
)

// A SinkConfig is one place to deliver to. On the command line and in the
// environment it is its kind and then keys with values, with commas between.
type SinkConfig struct {
	Kind string
	// Name is the sink's place in the stream, in the ledger and on the server,
	// for good; by default the kind. A new name begins anew.
	Name     string
	URL      string // http, webhook
	Subject  string // nats
	Format   string // see the formats; by default the first that fits
	All      bool   // start and alive records too
	Start    string // of a name that is new: "all" the stream has, or what is "new"; by default all, webhooks new
	InFlight int    // batches under way at once, 1 to 64; by default 4, for s3 32, for parquet and stdout 1

	TokenFile, TokenEnv   string // where a bearer token is: a file, or a variable
	SecretFile, SecretEnv string // where the key for HMAC signatures is
}

// formats that a kind can have, the default first.
var formats = map[string][]string{
	KindS3: {FormatJSONZ}, KindParquet: {"parquet"}, KindWebhook: {FormatJSON},
	KindHTTP:   {FormatEnvelope, FormatJSON, FormatJSONZ},
	KindNATS:   {FormatJSONZ, FormatJSON},
	KindStdout: {FormatLines, FormatBatches},
}

// UnmarshalText reads a sink as it is given on the command line. A value with a
// comma in it is put in double quotes.
func (s *SinkConfig) UnmarshalText(text []byte) error {
	fields, err := splitFields(string(text))
	if err != nil {
		return err
	}
	*s = SinkConfig{Kind: fields[0]}
	known := map[string]*string{
		"name": &s.Name, "url": &s.URL, "subject": &s.Subject, "format": &s.Format, "start": &s.Start,
		"token-file": &s.TokenFile, "token-env": &s.TokenEnv, "secret-file": &s.SecretFile, "secret-env": &s.SecretEnv,
	}
	var errs []error
	for _, f := range fields[1:] {
		key, value, ok := strings.Cut(f, "=")
		switch p := known[key]; {
		case !ok:
			errs = append(errs, fmt.Errorf("%q is not key=value", key))
		case p != nil:
			*p = value
		case key == "kinds" && (value == "ended" || value == "all"):
			s.All = value == "all"
		case key == "kinds":
			errs = append(errs, fmt.Errorf("kinds: %q is neither ended nor all", value))
		case key == "in-flight":
			if s.InFlight, err = strconv.Atoi(value); err != nil {
				errs = append(errs, fmt.Errorf("in-flight: %q is not a number", value))
			}
		default:
			errs = append(errs, fmt.Errorf("unknown key %q", key))
		}
	}
	*s = s.orDefault()
	return errors.Join(errs...)
}

func splitFields(s string) ([]string, error) {
	var fields []string
	var b strings.Builder
	quoted := false
	for _, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			fields = append(fields, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	if quoted {
		return nil, errors.New("a quote is not closed")
	}
	return append(fields, b.String()), nil
}

func (s SinkConfig) orDefault() SinkConfig {
	if s.Name == "" {
		s.Name = s.Kind
	}
	if f := formats[s.Kind]; s.Format == "" && f != nil {
		s.Format = f[0]
	}
	if s.Start == "" {
		s.Start = "all"
		if s.Kind == KindWebhook {
			s.Start = "new"
		}
	}
	if s.InFlight == 0 {
		s.InFlight = 4
		switch s.Kind {
		case KindS3: // 20,000 records a second in batches of 100, with 150 ms for each
			s.InFlight = 32
		case KindParquet, KindStdout:
			s.InFlight = 1
		}
	}
	return s
}

// Validate says everything that is wrong with the sink at once.
func (s SinkConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	s = s.orDefault()
	if formats[s.Kind] == nil {
		return fmt.Errorf("kind %q is not one of s3, parquet, http, nats, stdout, webhook", s.Kind)
	}
	if err := bus.ValidName(s.Name); err != nil {
		bad("%w", err)
	}
	fits := false
	for _, f := range formats[s.Kind] {
		fits = fits || f == s.Format
	}
	if !fits {
		bad("format %q is not one of %s", s.Format, strings.Join(formats[s.Kind], ", "))
	}
	overHTTP := s.Kind == KindHTTP || s.Kind == KindWebhook
	if u, err := url.Parse(s.URL); overHTTP && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("url is not an http or https URL") // it is not repeated: it may hold a password
	}
	if !overHTTP && s.URL+s.TokenFile+s.TokenEnv+s.SecretFile+s.SecretEnv != "" {
		bad("url, token and secret are for http and webhook")
	}
	if (s.Kind == KindNATS) != (s.Subject != "") || strings.ContainsAny(s.Subject, "*> \t\r\n") {
		bad("subject %q: nats needs one without wildcards, and nothing else has one", s.Subject)
	}
	if s.Kind == KindNATS && strings.HasPrefix(s.Subject, "tapedeck.") {
		bad("subject %q: tapedeck.> is ours", s.Subject)
	}
	if s.TokenFile != "" && s.TokenEnv != "" || s.SecretFile != "" && s.SecretEnv != "" {
		bad("token and secret: give a file or a variable, not both")
	}
	if s.Start != "all" && s.Start != "new" {
		bad("start %q is neither all nor new", s.Start)
	}
	if s.InFlight < 1 || s.InFlight > 64 {
		bad("in-flight %d is not within 1 to 64", s.InFlight)
	}
	return errors.Join(errs...)
}

// secret reads a token or a key. It is empty if neither file nor variable is given.
func secret(what, file, env string) (string, error) {
	var s string
	switch {
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", what, err)
		}
		s = strings.TrimRight(string(b), "\r\n")
	case env != "":
		s = os.Getenv(env)
	default:
		return "", nil
	}
	if s == "" {
		return "", fmt.Errorf("read %s: %s%s is empty", what, file, env)
	}
	return s, nil
}
