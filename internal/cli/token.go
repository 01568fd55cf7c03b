package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

type tokenCommand struct {
	Add  tokenAddCommand  `cmd:"" help:"Make a token and print it, once."`
	Ls   tokenLsCommand   `cmd:"" help:"List the tokens."`
	Rm   tokenRmCommand   `cmd:"" help:"Take a token away. Who uses it is locked out at once."`
	Link tokenLinkCommand `cmd:"" help:"Print the link that logs a browser in at the page of 'tapedeck up'."`
}

// tokenFile is where the tokens are.
type tokenFile struct {
	Dir    string `help:"Directory of the 'tapedeck up' whose tokens they are." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	Tokens string `help:"File with the tokens, if it is not the one of --dir." env:"TAPEDECK_WEB_TOKENS" type:"path" placeholder:"FILE"`
}

func (f tokenFile) open() *token.File {
	if f.Tokens != "" {
		return token.Open(f.Tokens)
	}
	return token.Open(stack.TokensPath(f.Dir))
}

type tokenAddCommand struct {
	Name    string   `arg:"" help:"Whose it is: what access events name (A-Z a-z 0-9 _ -)."`
	Role    string   `help:"admin sees every session; auditor those that the filter lets through." enum:"admin,auditor" default:"auditor"`
	User    []string `help:"Auditor: only sessions of these users; * stands for anything. Several with commas." placeholder:"PATTERN"`
	Host    []string `help:"Auditor: only sessions on these hosts; * stands for anything. Several with commas." placeholder:"PATTERN"`
	Replace bool     `help:"Replace the token of that name, which is refused from then on."`
	tokenFile
}

// Run makes a token.
func (c *tokenAddCommand) Run(s Streams) error {
	t := token.Token{Name: c.Name, Role: c.Role, Filter: token.Filter{User: c.User, Host: c.Host}}
	if err := t.Validate(); err != nil {
		return withStatus(exitUsage, err)
	}
	made, err := c.open().Add(t, c.Replace)
	if errors.Is(err, token.ErrExists) {
		return fmt.Errorf("%w (replace it with --replace)", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Err, "This is the only time that the token is shown:")
	_, err = fmt.Fprintln(s.Out, made)
	return err
}

type tokenLsCommand struct {
	Format string `help:"table, or json (one object a line)." enum:"table,json" default:"table"`
	tokenFile
}

// Run lists the tokens.
func (c *tokenLsCommand) Run(s Streams) error {
	tokens, err := c.open().List()
	if err != nil {
		return err
	}
	if c.Format == "json" {
		enc := json.NewEncoder(s.Out)
		for _, t := range tokens {
			if err := enc.Encode(t); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tUSERS\tHOSTS\tMADE")
	for _, t := range tokens {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Name, t.Role, patternsText(t.Filter.User), patternsText(t.Filter.Host), timeText(t.Created))
	}
	return w.Flush()
}

func patternsText(p []string) string {
	if len(p) == 0 {
		return "*"
	}
	return clean(strings.Join(p, ","))
}

type tokenRmCommand struct {
	Name string `arg:"" help:"The token's name."`
	tokenFile
}

// Run takes a token away.
func (c *tokenRmCommand) Run() error {
	err := c.open().Remove(c.Name)
	if errors.Is(err, token.ErrUnknown) {
		return withStatus(exitMissing, fmt.Errorf("%w (see them with: tapedeck token ls)", err))
	}
	return err
}

type tokenLinkCommand struct {
	Dir string `help:"Directory of the 'tapedeck up'." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
}

// Run prints the link of a running stack.
func (c *tokenLinkCommand) Run(s Streams) error {
	running, err := stack.ReadConnect(c.Dir)
	if err != nil {
		return err
	}
	secret, err := stack.OwnToken(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; 'tapedeck up' makes one when it starts without --no-auth", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, web.Link(running.Web, secret))
	return err
}
