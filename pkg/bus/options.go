package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options say how to reach NATS. The tags are for kong, which this package does
// not import; without it an empty URL means nats://127.0.0.1:4222.
//
// At most one way to say who we are may be set: Creds, NKey, User with
// Password, or Token. A client certificate may come on top of it, or stand
// alone.
type Options struct {
	URL         []string      `name:"nats-url" env:"TAPEDECK_NATS_URL" default:"nats://127.0.0.1:4222" sep:"," help:"NATS server, any of the cluster; several with commas."`
	Name        string        `name:"nats-name" env:"TAPEDECK_NATS_NAME" help:"Name of the connection, as the server lists it."`
	Creds       string        `name:"nats-creds" env:"TAPEDECK_NATS_CREDS" help:"Credentials file (JWT and seed)."`
	NKey        string        `name:"nats-nkey" env:"TAPEDECK_NATS_NKEY" help:"File with an nkey seed."`
	User        string        `name:"nats-user" env:"TAPEDECK_NATS_USER" help:"User name."`
	Password    Secret        `name:"nats-password" env:"TAPEDECK_NATS_PASSWORD" help:"Password; better in the environment than on the command line."`
	Token       Secret        `name:"nats-token" env:"TAPEDECK_NATS_TOKEN" help:"Token; better in the environment than on the command line."`
	TLSCA       string        `name:"nats-tls-ca" env:"TAPEDECK_NATS_TLS_CA" help:"File with the certificates that sign the server's."`
	TLSCert     string        `name:"nats-tls-cert" env:"TAPEDECK_NATS_TLS_CERT" help:"Client certificate file; needs the key."`
	TLSKey      string        `name:"nats-tls-key" env:"TAPEDECK_NATS_TLS_KEY" help:"Client key file; needs the certificate."`
	InboxPrefix string        `name:"nats-inbox" env:"TAPEDECK_NATS_INBOX" default:"_INBOX" help:"Prefix of the subjects that replies come to, if the user may not subscribe to _INBOX.>."`
	Wait        time.Duration `name:"nats-wait" env:"TAPEDECK_NATS_WAIT" help:"How long to go on trying for the first connection, and for streams that do not answer yet, e.g. 1m; 0 tries once. Once connected it reconnects for ever."`
}

// A Secret does not print itself.
type Secret string

// String hides the secret, but not whether there is one.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from encoders and structured logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String names the servers, without user and password.
func (o Options) String() string {
	var b strings.Builder
	for i, s := range o.urls() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(redact(s))
	}
	return b.String()
}

// GoString is String.
func (o Options) GoString() string { return o.String() }

// LogValue is String, for structured logs.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

func redact(s string) string {
	u, err := url.Parse(withScheme(s))
	if err != nil {
		return "(not a URL)"
	}
	if u.User != nil {
		u.User = url.User("(hidden)")
	}
	return u.Scheme + "://" + u.Host
}

func withScheme(s string) string {
	if strings.Contains(s, "://") {
		return s
	}
	return "nats://" + s
}

func (o Options) urls() []string {
	if len(o.URL) == 0 {
		return []string{"nats://127.0.0.1:4222"}
	}
	return o.URL
}

// Validate says everything that is wrong with the options at once, and repeats
// no secret. It looks whether the files are there, and does not read them.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	for i, s := range o.urls() {
		if msg := urlProblem(s); msg != "" {
			bad("nats url %d: %s", i+1, msg)
		}
	}
	if ways := o.ways(); len(ways) > 1 {
		bad("nats: %s are set; choose one", strings.Join(ways, " and "))
	}
	if o.User == "" && o.Password != "" {
		bad("nats password: is set without a user")
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		bad("nats tls: certificate and key go together, only one is set")
	}
	for _, f := range []struct{ what, path string }{
		{"nats creds", o.Creds}, {"nats nkey", o.NKey}, {"nats tls ca", o.TLSCA},
		{"nats tls cert", o.TLSCert}, {"nats tls key", o.TLSKey},
	} {
		if err := readable(f.path); err != nil {
			bad("%s: %w", f.what, err)
		}
	}
	if p := o.InboxPrefix; p != "" && (strings.ContainsAny(p, "*> \t\r\n") || strings.HasSuffix(p, ".") || strings.HasPrefix(p, ".") || strings.Contains(p, "..")) {
		bad("nats inbox: %q is not a subject without wildcards", p)
	}
	if o.Wait < 0 {
		bad("nats wait: %s is negative", o.Wait)
	}
	return errors.Join(errs...)
}

func (o Options) ways() []string {
	var ways []string
	for _, w := range []struct {
		name string
		set  bool
	}{
		{"credentials file", o.Creds != ""}, {"nkey", o.NKey != ""},
		{"user", o.User != ""}, {"token", o.Token != ""},
	} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	return ways
}

// urlProblem does not repeat the URL, which may hold a password.
func urlProblem(s string) string {
	if strings.TrimSpace(s) == "" {
		return "is empty"
	}
	u, err := url.Parse(withScheme(s))
	if err != nil {
		return "is not a URL"
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Sprintf("scheme %q is not nats, tls, ws or wss", u.Scheme)
	}
	if u.Hostname() == "" {
		return "has no host"
	}
	return ""
}

func readable(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
