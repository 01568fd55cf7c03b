package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type upCommand struct {
	Dir      string `help:"Directory that holds everything: the bus, the recordings, the keys to both." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	NATSPort int    `name:"nats-port" help:"Port of the bus on 127.0.0.1. 0: as last time, else 4222 if it is free, else any." env:"TAPEDECK_NATS_PORT"`
	S3Port   int    `name:"s3-port" help:"Port of the S3 gateway on 127.0.0.1. 0: as last time, else 9000 if it is free, else any." env:"TAPEDECK_S3_PORT"`
	WebPort  int    `name:"web-port" help:"Port of the page on 127.0.0.1. 0: as last time, else 8470 if it is free, else any." env:"TAPEDECK_WEB_PORT"`
	NoAuth   bool   `help:"Let everybody on this machine watch every recording in the browser, without a token."`
	NoSync   bool   `help:"Acknowledge events before they are on disk: faster, and a power cut loses the last minutes."`

	MetricsAddr string `name:"metrics-addr" default:"auto" env:"TAPEDECK_METRICS_ADDR" placeholder:"HOST:PORT" help:"Where to answer /metrics (Prometheus), /healthz and /readyz of everything that runs here: HOST:PORT, off, or auto (127.0.0.1, port 9464 if it is free, else any)."`

	AccessSinks []accesslog.SinkConfig `name:"access-sink" sep:";" env:"TAPEDECK_ACCESSLOG_SINKS" placeholder:"KIND,KEY=VALUE..." help:"Where access records go, and webhooks for what becomes of recordings; as for accesslog --sink. By default s3 and parquet: objects under access/ in the bucket."`

	Layout bus.Layout `embed:"" group:"Streams (fixed when the directory is first used)"`
}

// Run runs the installation until ctx is done.
func (c *upCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	cfg := stack.Config{Dir: c.Dir, NATSPort: c.NATSPort, S3Port: c.S3Port, WebPort: c.WebPort, NoAuth: c.NoAuth, NoSync: c.NoSync, Layout: c.Layout, MetricsAddr: c.MetricsAddr, Log: log}
	if len(c.AccessSinks) > 0 {
		access := accesslog.DefaultConfig()
		access.Sinks = c.AccessSinks
		cfg.AccessLog = &access
	}
	if err := cfg.Validate(); err != nil {
		return withStatus(exitUsage, err)
	}
	return stack.Run(ctx, cfg, func(i stack.Info) { c.ready(s, i) })
}

func (c *upCommand) ready(s Streams, i stack.Info) {
	dir := ""
	if i.Dir != defaultDir() {
		dir = " --dir " + i.Dir
	}
	metrics := ""
	if i.Metrics != "" {
		metrics = "\n  watch http://" + i.Metrics + "   /metrics, /healthz, /readyz"
	}
	fmt.Fprintf(s.Out, `tapedeck is up: %s
  bus   %s   %d partition(s), every event synced to disk before it is acknowledged: %t
  S3    %s/%s
  page  %s
  disk  %s free in %s%s

In another terminal:
  tapedeck record%s -- bash      record a shell
  tapedeck ls%s                  see it, live and when it is finished
Ctrl-C stops everything; what was recorded stays.
`, i.Started.Format(time.RFC3339), i.NATS.URL[0], i.Layout.Partitions, !c.NoSync,
		i.S3.Endpoint, i.S3.Bucket, pageText(i.Web, dir), bytesText(i.Free), i.Dir, metrics, dir, dir)
}

// pageText is where the page is. The link with its token is shown once, and not
// again each time a service starts and writes into a journal.
func pageText(w stack.WebInfo, dir string) string {
	switch {
	case w.New:
		return w.Link + "   (this link logs you in; it is shown once; see it again with: tapedeck token link" + dir + ")"
	case w.Link == "":
		return w.URL + "   (no token is asked for)"
	}
	return w.URL + "   (the link that logs you in: tapedeck token link" + dir + ")"
}
