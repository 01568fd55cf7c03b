package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

type serveCommand struct {
	web.Config
	Tokens     string            `type:"path" env:"TAPEDECK_WEB_TOKENS" placeholder:"FILE" help:"File with the tokens, as tapedeck token makes it, if it is not the one of --dir."`
	Index      string            `type:"path" env:"TAPEDECK_WEB_INDEX" placeholder:"FILE" help:"File that the list of sessions is kept in, if it is not to be web/serve.db in --dir. It is derived: made if it is not there, and safe to remove."`
	Rebuild    bool              `help:"Make the list of sessions anew from the manifests and logs, and end. A server may go on meanwhile."`
	NoIndexing bool              `env:"TAPEDECK_WEB_NO_INDEXING" help:"Do not make the seek indexes of recordings as they are finished. One of several servers is enough for that, and those that are missing are made when somebody looks."`
	Telemetry  telemetry.Options `embed:"" group:"Watching"`
	target
}

// Help says how to begin.
func (c *serveCommand) Help() string {
	return `'tapedeck up' serves the page already; this is for installations whose services run apart.

Make a token first: tapedeck token add NAME`
}

// Run serves the page and its API until ctx is done.
func (c *serveCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if err := errors.Join(c.Validate(), c.Telemetry.Validate()); err != nil {
		return withStatus(exitUsage, err)
	}
	c.Tokens = cmp.Or(c.Tokens, stack.TokensPath(c.Dir))
	c.Index = cmp.Or(c.Index, filepath.Join(c.Dir, "web", "serve.db"))
	in, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer in.close()
	index, err := sessions.Open(ctx, c.Index)
	if err != nil {
		return err
	}
	defer func() { _ = index.Close() }()
	if c.Rebuild {
		return c.rebuild(ctx, s, in, index, log)
	}
	tokens := token.Open(c.Tokens)
	if have, err := tokens.List(); err != nil {
		return err
	} else if len(have) == 0 && !c.NoAuth {
		return withStatus(exitUsage, fmt.Errorf("serve: there is no token in %s: make one with: tapedeck token add NAME", c.Tokens))
	}
	deps := web.Deps{Library: in.library(), Index: index, Tokens: tokens, Log: log}
	if in.store != nil {
		indexer := seekindex.NewWorker(deps.Library, in.store, log)
		deps.Indexer = indexer
		if in.conn != nil && !c.NoIndexing {
			defer runBeside(ctx, indexer.Run)()
		}
	}
	server, err := web.New(c.Config, deps)
	if err != nil {
		return err
	}
	tel, err := c.watch(ctx, in, server, log)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	defer tel.Stop()
	url, err := server.Listen(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "serving %s\n", url)
	return server.Run(ctx)
}

// watch lets others see whether the server works.
func (c *serveCommand) watch(ctx context.Context, in *installation, server *web.Server, log *slog.Logger) (*telemetry.Telemetry, error) {
	tel, err := telemetry.Start(ctx, "web", c.Telemetry, log)
	if err != nil {
		return nil, err
	}
	tel.Health.Add("web", server.Checks())
	if in.conn == nil { // recordings are shown from the store alone
		return tel, nil
	}
	if err := tel.Installation(in.conn, in.layout, in.store); err != nil {
		tel.Stop()
		return nil, err
	}
	return tel, nil
}

// runBeside runs a service until the function that it returns is called, which
// waits for it.
func runBeside(ctx context.Context, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx) // nil: it was told to stop
	}()
	return func() {
		cancel()
		<-done
	}
}

func (c *serveCommand) rebuild(ctx context.Context, s Streams, in *installation, index *sessions.Index, log *slog.Logger) error {
	n, err := (&sessions.Keeper{Index: index, Library: in.library(), Log: log}).Rebuild(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "rebuilt %s: %d sessions\n", c.Index, n)
	return nil
}
