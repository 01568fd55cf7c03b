package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// A Config says how to serve. The tags are for kong, which this package does not
// import; without it zero fields mean the same defaults.
type Config struct {
	Listen    string `default:"127.0.0.1:8470" env:"TAPEDECK_WEB_LISTEN" placeholder:"HOST:PORT" help:"Address to listen on."`
	PublicURL string `name:"public-url" env:"TAPEDECK_WEB_PUBLIC_URL" placeholder:"URL" help:"Where browsers reach it, if that is not the address it listens on, such as behind a proxy. Other names in the Host header are refused."`
	NoAuth    bool   `help:"Ask for no token. Only on loopback: whoever can use this machine sees every recording."`
	TLSCert   string `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate file; needs the key."`
	TLSKey    string `name:"tls-key" type:"path" placeholder:"FILE" help:"Key file; needs the certificate."`

	MaxReads int           `default:"64" help:"Recordings read at a time; further requests wait. With about 1 MiB each it bounds memory."`
	Stall    time.Duration `default:"30s" help:"How long a viewer may take nothing before it is dropped."`
	Recheck  time.Duration `default:"10s" help:"How often it is looked whether the token of an answer that goes on is still good. A live view tells proxies as often that it lives."`
	Drain    time.Duration `default:"5s" help:"How long requests may take to finish when the server stops."`
}

// Deps are what a Server needs of whoever runs it.
type Deps struct {
	Library *recording.Library
	Index   *sessions.Index // the caller closes it
	Tokens  *token.File     // nil with NoAuth
	Indexer Indexer         // makes seek indexes that are missing when somebody looks; may be nil
	Log     *slog.Logger    // nil: nothing is logged
}

func (c Config) orDefault() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8470"
	}
	if c.MaxReads == 0 {
		c.MaxReads = 64
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Recheck == 0 {
		c.Recheck = 10 * time.Second
	}
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	return c
}

// Validate says everything that is wrong with the configuration at once.
func (c Config) Validate() error {
	c = c.orDefault()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		bad("listen: %q is not host:port or [v6]:port", c.Listen)
	} else if c.NoAuth && !isLoopback(host) {
		bad("no auth: anyone who reaches %s could watch every recording; listen on 127.0.0.1, or use tokens", c.Listen)
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
			bad("public url: %q is not http(s)://host[:port]", c.PublicURL)
		}
		if c.NoAuth {
			bad("no auth: with a public url others can reach it; use tokens")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls: the certificate needs the key, and the key the certificate")
	}
	if c.MaxReads < 1 || c.MaxReads > 10_000 {
		bad("max reads: %d is not within 1 to 10000", c.MaxReads)
	}
	if c.Stall < 0 || c.Recheck < 0 || c.Drain < 0 {
		bad("stall %s, recheck %s and drain %s must not be negative", c.Stall, c.Recheck, c.Drain)
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
