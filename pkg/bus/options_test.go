package bus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestOptionsSayAllThatIsWrongAndNoSecret(t *testing.T) {
	o := bus.Options{
		URL:   []string{"nats://user:hunter2@ok:4222", "http://user:hunter2@host", "", "nats://user:hunter2@:4222", "nats://user:hunter2@host:port"},
		Creds: "/no/such/creds", NKey: "/no/such/nkey", Password: "hunter2", Token: "hunter2",
		TLSCert: "/no/such/cert", InboxPrefix: "_INBOX.>", Wait: -time.Second,
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"url 2", "url 3", "url 4", "url 5", "credentials file and nkey and token", "without a user", "certificate and key",
		"nats creds: open", "nats nkey: open", "nats tls cert: open", "inbox", "wait",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "url 1:") {
		t.Errorf("error names a good url: %v", err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("options", "nats", o, "token", o.Token)
	js, _ := json.Marshal(struct{ P bus.Secret }{o.Password})
	for _, said := range []string{err.Error(), fmt.Sprint(o), fmt.Sprintf("%+v %#v %v", o, o, &o), fmt.Sprintf("%v %#v", o.Token, o.Token), log.String(), string(js)} {
		if strings.Contains(said, "hunter2") {
			t.Errorf("secret is said: %s", said)
		}
	}
	if err := (bus.Options{}).Validate(); err != nil {
		t.Errorf("the zero options: %v", err)
	}
}

func TestConnectWithEachKindOfCredential(t *testing.T) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	pub, _ := kp.PublicKey()
	seed, _ := kp.Seed()
	seedFile := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	users := embedtest.NATSServer(t, embed.NATSConfig{Tune: func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "hunter2"}}
		o.Nkeys = []*server.NkeyUser{{Nkey: pub}}
	}}).URL()
	token := embedtest.NATSServer(t, embed.NATSConfig{Tune: func(o *server.Options) { o.Authorization = "hunter2" }}).URL()
	for _, tt := range []struct {
		name string
		o    bus.Options
		ok   bool
	}{
		{"user and password", bus.Options{URL: []string{users}, User: "u", Password: "hunter2"}, true},
		{"in the url", bus.Options{URL: []string{strings.Replace(users, "://", "://u:hunter2@", 1)}}, true},
		{"nkey", bus.Options{URL: []string{users}, NKey: seedFile}, true},
		{"token", bus.Options{URL: []string{token}, Token: "hunter2"}, true},
		{"several servers, one there", bus.Options{URL: []string{"nats://127.0.0.1:1", users}, User: "u", Password: "hunter2"}, true},
		{"wrong password", bus.Options{URL: []string{users}, User: "u", Password: "hunter3", Wait: time.Minute}, false},
		{"wrong password in the url", bus.Options{URL: []string{strings.Replace(users, "://", "://u:hunter3@", 1)}}, false},
		{"nobody there", bus.Options{URL: []string{"nats://u:hunter3@127.0.0.1:1"}, Wait: 10 * time.Millisecond}, false},
		{"file that is no seed", bus.Options{URL: []string{users}, NKey: "options_test.go"}, false},
		{"file that is no certificate", bus.Options{URL: []string{users}, TLSCA: "options_test.go"}, false},
	} {
		c, err := bus.Connect(t.Context(), tt.o, nil)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if next := map[string]string{"wrong password": "check user and password", "nobody there": "is the server running"}[tt.name]; err != nil && !strings.Contains(err.Error(), next) {
			t.Errorf("%s: %v; want %q in it", tt.name, err, next)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: the error says the secret: %v", tt.name, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

func TestConnectWaitsForAServerThatComes(t *testing.T) {
	s, cfg := restartable(t)
	s.srv.Shutdown()
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(400 * time.Millisecond)
		srv, err := embed.StartNATS(cfg)
		if err != nil {
			t.Error(err)
			return
		}
		s.srv = srv
	})
	defer wg.Wait()
	url := fmt.Sprintf("nats://127.0.0.1:%d", cfg.Port)
	if _, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("without waiting: %v", err)
	}
	c, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}, Wait: 20 * time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
