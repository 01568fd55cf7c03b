package bus_test

import (
	"net/url"
	"strconv"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// restartable is a site whose server can be stopped and started again on the
// same port and directory.
func restartable(t *testing.T) (*site, embed.NATSConfig) {
	t.Helper()
	cfg := embed.NATSConfig{Dir: t.TempDir(), MaxStore: 1 << 30}
	srv, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	s := &site{srv: srv, conn: connect(t, srv.URL())}
	t.Cleanup(func() { s.srv.Shutdown() })
	if s.layout, err = bus.Ensure(t.Context(), s.conn, small(1)); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

func (s *site) restart(t *testing.T, cfg embed.NATSConfig) {
	t.Helper()
	s.srv.Shutdown()
	srv, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.srv = srv
}
