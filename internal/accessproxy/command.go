package accessproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Command is the flags of `tapedeck access proxy`, and runs it. The tags are
// for kong, which this package does not import; without it zero fields mean the
// same defaults, but for Listen, To and Resource, which must be set.
type Command struct {
	Listen   []string `required:"" sep:"," placeholder:"HOST:PORT" help:"Address to listen on; several with commas. Port 0 is any free one."`
	To       string   `required:"" placeholder:"HOST:PORT" help:"Where to forward to."`
	Resource int64    `required:"" placeholder:"N" help:"Number of the resource that is reached through this proxy; names the subject of its records."`
	Protocol []string `sep:"," default:"tcp,udp" enum:"tcp,udp" help:"What to forward: tcp, udp, or both."`
	User     string   `placeholder:"NAME" help:"Who comes, if everyone who can reach the proxy is one user."`
	Node     string   `placeholder:"NAME" help:"Name of this proxy in its records; default the host's name."`

	Alive        time.Duration `default:"5m" help:"Longest time between two records of an open session."`
	Idle         time.Duration `default:"2m" help:"A UDP session ends when no packet has passed for so long."`
	Merge        time.Duration `default:"0s" help:"Make one session of connections from one host whose pauses are not longer, e.g. 5s; 0 keeps them apart."`
	DialTimeout  time.Duration `default:"10s" help:"How long to wait for the target to take a connection."`
	MaxFlows     int           `default:"4096" help:"UDP sources at a time; each has a socket. Packets of further ones are dropped."`
	Drain        time.Duration `default:"5s" help:"How long to go on sending records after the proxy was told to stop."`
	State        string        `type:"path" placeholder:"FILE" help:"File that lets the next start finish the sessions of one that was killed."`
	SpoolRecords int           `default:"100000" help:"Most records kept while the bus is away; the oldest go first."`
	SpoolBytes   int64         `default:"67108864" help:"Most bytes of records kept while the bus is away."`
	Quiet        bool          `help:"Write no ACCESS lines to standard output."`
}

// Deps are what a Command needs of whoever runs it.
type Deps struct {
	// Connect reaches the bus. It is called again, after a while, when it fails:
	// the proxy forwards from the beginning and keeps records until there is a bus.
	Connect func(ctx context.Context) (*bus.Conn, error)
	Stdout  io.Writer        // the ACCESS lines
	Ready   func([]net.Addr) // called once with what is listened on; may be nil
	Logger  *slog.Logger     // nil: discard
	Meter   metric.Meter     // nil: none
}

func (c Command) orDefault() Command {
	if len(c.Protocol) == 0 {
		c.Protocol = []string{accesslog.TCP, accesslog.UDP}
	}
	if c.Node == "" {
		c.Node = hostNode()
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 10 * time.Second
	}
	if c.MaxFlows == 0 {
		c.MaxFlows = 4096
	}
	return c
}

// hostNode makes a node's name of the host's.
func hostNode() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "localhost"
	}
	name := []byte(host[:min(len(host), bus.MaxName)])
	for i := range name {
		if bus.ValidName(string(name[i])) != nil {
			name[i] = '-'
		}
	}
	return string(name)
}

// Validate says everything that is wrong with the flags at once.
func (c Command) Validate() error {
	c = c.orDefault()
	var errs []error
	if len(c.Listen) == 0 {
		errs = append(errs, errors.New("listen: no address"))
	}
	for _, addr := range c.Listen {
		errs = append(errs, validAddr("listen", addr, 0))
	}
	errs = append(errs, validAddr("to", c.To, 1))
	for _, p := range c.Protocol {
		if p != accesslog.TCP && p != accesslog.UDP {
			errs = append(errs, fmt.Errorf("protocol: %q is neither tcp nor udp", p))
		}
	}
	if c.MaxFlows < 0 {
		errs = append(errs, fmt.Errorf("max flows: %d is negative", c.MaxFlows))
	}
	errs = append(errs, c.tracker(Deps{}).Validate())
	return errors.Join(errs...)
}

func validAddr(name, addr string, least uint64) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %q is not host:port or [v6]:port", name, addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < least {
		return fmt.Errorf("%s: port %q is not a number from %d to 65535", name, port, least)
	}
	return nil
}

func (c Command) tracker(d Deps) accesslog.Config {
	cfg := accesslog.Config{
		Node: c.Node, Alive: c.Alive, Idle: c.Idle, Merge: c.Merge, Drain: c.Drain, StateFile: c.State,
		SpoolRecords: c.SpoolRecords, SpoolBytes: c.SpoolBytes, Logger: d.Logger, Meter: d.Meter,
	}
	if !c.Quiet {
		cfg.Lines = d.Stdout
	}
	return cfg
}

// Run forwards until ctx is done, and returns when everything it began has
// ended and its records are sent, or kept in the state file. Its error wraps
// accesslog.ErrUnsent if some are neither.
func (c Command) Run(ctx context.Context, d Deps) (err error) {
	c = c.orDefault()
	if err := c.Validate(); err != nil {
		return err
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	pub := &latePublisher{connect: d.Connect, log: d.Logger}
	defer pub.close()
	tracker, err := accesslog.New(c.tracker(d), pub)
	if err != nil {
		return err
	}
	p := &proxy{Command: c, tracker: tracker, log: d.Logger}
	if err := p.listen(ctx); err != nil {
		return err
	}
	if d.Ready != nil {
		d.Ready(p.addrs())
	}
	return p.run(ctx)
}

func (p *proxy) run(ctx context.Context) error {
	tracking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	tracked := make(chan error, 1)
	go func() { tracked <- p.tracker.Run(tracking) }()
	forwarding, cancel := context.WithCancel(ctx)
	defer cancel()
	forwarded := make(chan error, 1)
	go func() { forwarded <- p.forward(forwarding) }()
	select {
	case err := <-forwarded: // told to stop, or no longer listening
		stop()
		return errors.Join(err, <-tracked)
	case err := <-tracked: // it could not begin
		cancel()
		return errors.Join(err, <-forwarded)
	}
}

func (c Command) has(protocol string) bool { return slices.Contains(c.Protocol, protocol) }
