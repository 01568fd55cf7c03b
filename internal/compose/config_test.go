package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

const deployDir = "../../deploy/compose"

// passwordOf is what the tests set for each user of users.conf.
func passwordOf(user string) string { return "secret-of-" + user }

// setPasswords puts what make-env.sh makes into the environment.
func setPasswords(t *testing.T) {
	t.Helper()
	for _, user := range []string{"install", "slicer", "completer", "accesslog", "viewer", "web", "producer-demo", "sys", "route"} {
		t.Setenv("NATS_"+strings.ToUpper(strings.ReplaceAll(user, "-", "_"))+"_PASSWORD", passwordOf(user))
	}
	t.Setenv("NATS_NAME", "nats-1")
	for i := 1; i <= 3; i++ {
		t.Setenv(fmt.Sprintf("NATS_ROUTE_%d", i), fmt.Sprintf("nats://route:%s@nats-%d:6222", passwordOf("route"), i))
	}
}

// natsOptions reads one of the servers' files as the server does, laid out as in its
// container.
func natsOptions(t *testing.T, file, tls string) *server.Options {
	t.Helper()
	setPasswords(t)
	dir := t.TempDir()
	for from, to := range map[string]string{"nats": "conf", tls: "tls"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(deployDir, from))); err != nil {
			t.Fatal(err)
		}
	}
	opts := &server.Options{CheckConfig: true} // which makes unknown keys an error
	if err := opts.ProcessConfigFile(filepath.Join(dir, "conf", file)); err != nil {
		t.Fatal(err)
	}
	return opts
}

func TestServersTakeTheirConfiguration(t *testing.T) {
	for _, file := range []string{"cluster.conf", "single.conf"} {
		o := natsOptions(t, file, "nats-plain")
		if !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" || o.SystemAccount != "SYS" {
			t.Errorf("%s: JetStream %t, sync always %t, in %q, system account %q", file, o.JetStream, o.SyncAlways, o.StoreDir, o.SystemAccount)
		}
		for _, u := range o.Users {
			if u.Account.Name == "TAPEDECK" && (u.Permissions == nil || u.Permissions.Publish == nil || u.Permissions.Subscribe == nil ||
				len(u.Permissions.Publish.Allow) == 0 || len(u.Permissions.Subscribe.Allow) == 0) {
				t.Errorf("%s: user %s may do anything", file, u.Username)
			}
			if u.Password == "" {
				t.Errorf("%s: user %s has no password", file, u.Username)
			}
		}
		if len(o.Users) != 8 || o.TLS {
			t.Errorf("%s: %d users, TLS %t", file, len(o.Users), o.TLS)
		}
		if cluster := file == "cluster.conf"; cluster != (len(o.Routes) == 3 && o.Cluster.Password == passwordOf("route") && o.Cluster.NoAdvertise) {
			t.Errorf("%s: routes %v, cluster %+v", file, o.Routes, o.Cluster)
		}
	}
}
