package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// ownToken is the name of the token that `up` makes.
const ownToken = "up"

// TokensPath is the file with the tokens of the installation in dir.
func TokensPath(dir string) string { return filepath.Join(dir, "web", "tokens.json") }

// IndexPath is the file with the list of sessions of the installation in dir. It
// can be removed while nothing runs: it is made again.
func IndexPath(dir string) string { return filepath.Join(dir, "web", "sessions.db") }

func ownTokenPath(dir string) string { return filepath.Join(dir, "web", "up-token") }

// OwnToken returns the token that `up` made for the installation in dir, or an
// error that wraps [fs.ErrNotExist] if there is none.
func OwnToken(dir string) (string, error) {
	b, err := os.ReadFile(ownTokenPath(dir))
	if err != nil {
		return "", fmt.Errorf("read the token of the page: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// openWeb makes the server of the page, and begins to listen.
func (s *running) openWeb(ctx context.Context) error {
	var err error
	if s.index, err = sessions.Open(ctx, IndexPath(s.cfg.Dir)); err != nil {
		return err
	}
	cfg := web.Config{Listen: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports.web.port())), NoAuth: s.cfg.NoAuth}
	tokens := token.Open(TokensPath(s.cfg.Dir))
	s.web, err = web.New(cfg, web.Deps{
		Library: &recording.Library{Store: s.store, Conn: s.conn, Layout: s.info.Layout},
		Index:   s.index, Tokens: tokens, Indexer: s.indexer(), Log: s.cfg.Log.With("service", "web"),
	})
	if err == nil {
		s.tel.Health.Add("web", s.web.Checks())
		s.ports.web.free()
		s.info.Web.URL, err = s.web.Listen(ctx)
	}
	if err == nil && !s.cfg.NoAuth {
		err = s.link(tokens)
	}
	if err != nil {
		return errors.Join(err, s.index.Close())
	}
	return nil
}

// link makes the link with the token of `up`. The token is made once and kept; if
// it was taken away, or the file with it was removed, there is a new one.
func (s *running) link(tokens *token.File) error {
	secret, err := OwnToken(s.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, ferr := tokens.Find(secret); err != nil || errors.Is(ferr, token.ErrUnknown) {
		if secret, err = tokens.Add(token.Token{Name: ownToken, Role: token.Admin}, true); err != nil {
			return err
		}
		// A crash here leaves a token that nobody knows; the next run replaces it.
		if err := token.WritePrivate(ownTokenPath(s.cfg.Dir), []byte(secret+"\n")); err != nil {
			return err
		}
		s.info.Web.New = true
	} else if ferr != nil {
		return ferr
	}
	s.info.Web.Link = web.Link(s.info.Web.URL, secret)
	return nil
}
