package ptyrec

import (
	"os"
	"slices"
	"strings"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// environ is an environment, as os.Environ has it.
type environ []string

func (e environ) get(key string) string {
	for _, kv := range slices.Backward(e) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// secrets end the names of variables that the recorded command must not see:
// they would let the recorded write to the bus in the recorder's name.
var secrets = []string{"_PASSWORD", "_TOKEN", "_CREDS", "_NKEY", "_SECRET_KEY", "_ACCESS_KEY", "_TLS_KEY", "_TLS_CERT"}

// forCommand is the environment of the command: without our credentials, and
// without what sshd says to a forced command only.
func (e environ) forCommand() []string {
	return slices.DeleteFunc(slices.Clone(e), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		secret := strings.HasPrefix(key, "TAPEDECK_") &&
			slices.ContainsFunc(secrets, func(end string) bool { return strings.HasSuffix(key, end) })
		return secret || key == "SSH_ORIGINAL_COMMAND" || key == "TAPEDECK_SESSION"
	})
}

// fromSSHD says whether sshd started this program, rather than somebody in a
// session that sshd once started.
func fromSSHD(e environ) bool {
	return e.get("SSH_CONNECTION") != "" && e.get("TAPEDECK_SESSION") == ""
}

// nodeName makes a node's name of the host's.
func nodeName() string {
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
