package recorder

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A Spec says what a session is. The zero value is a session of nobody without
// a terminal.
type Spec struct {
	// ID is the session's id: 1 to 64 of A-Z a-z 0-9 _ -. Default: a random
	// UUID, which is what it should be unless there is one already.
	ID string
	// User is who the person is, Login the account on the server.
	User, Login string
	// Cluster goes into every event. Default: the recorder's.
	Cluster string

	// ServerID defaults to the recorder's node. Namespace defaults to "default".
	ServerID, ServerHostname, ServerAddr, Namespace string
	ServerLabels                                    map[string]string
	// RemoteAddr is the client's host:port, LocalAddr the server's end of that
	// connection, Protocol what is spoken on it. Protocol defaults to "ssh", of
	// a desktop session to "tdp".
	RemoteAddr, LocalAddr, Protocol string

	// Width and Height are the terminal's columns and rows; both 0 if there is
	// no terminal.
	Width, Height int
	// Interactive says that a person sits at it. A session with a terminal is
	// always interactive.
	Interactive bool
	// InitialCommand is the command and its arguments; empty for a login shell.
	InitialCommand []string
	// Desktop makes the session one on a desktop; nil for any other.
	Desktop *Desktop
	// Reason is why the session was started, if anybody was asked.
	Reason string
	// Invited are the users that were invited to join.
	Invited []string

	// Started is when it began. Default: now; for a resumed session what the
	// bus knows.
	Started time.Time
}

// LoadSpec makes a Spec from the environment of a process that sshd or a
// login started: USER and LOGNAME (or the account of the process), the host's
// name, SSH_CONNECTION or SSH_CLIENT. TAPEDECK_USER, when it is set, is who
// the person is, for accounts that several people share. A nil getenv stands
// for os.Getenv. The terminal's size is left to the caller.
func LoadSpec(getenv func(string) string) Spec {
	if getenv == nil {
		getenv = os.Getenv
	}
	spec := Spec{Protocol: "local", Login: first(getenv("LOGNAME"), getenv("USER"), account())}
	spec.User = first(getenv("TAPEDECK_USER"), getenv("USER"), spec.Login)
	if host, err := os.Hostname(); err == nil {
		spec.ServerHostname = host
	}
	// SSH_CONNECTION is "client port server port", SSH_CLIENT "client port port".
	if f := strings.Fields(getenv("SSH_CONNECTION")); len(f) == 4 {
		spec.Protocol = "ssh"
		spec.RemoteAddr, spec.LocalAddr = net.JoinHostPort(f[0], f[1]), net.JoinHostPort(f[2], f[3])
	} else if f := strings.Fields(getenv("SSH_CLIENT")); len(f) == 3 {
		spec.Protocol = "ssh"
		spec.RemoteAddr = net.JoinHostPort(f[0], f[1])
	}
	spec.ServerAddr = spec.LocalAddr
	return spec
}

func account() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid-%d", os.Getuid())
	}
	return u.Username
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// fill puts the defaults in and checks the rest.
func (sp *Spec) fill(opts Options) error {
	if sp.ID == "" {
		sp.ID = uuid.NewString()
	}
	if err := bus.ValidName(sp.ID); err != nil {
		return fmt.Errorf("check session id %q: %w", sp.ID, err)
	}
	if sp.Width < 0 || sp.Height < 0 || (sp.Width == 0) != (sp.Height == 0) {
		return fmt.Errorf("check terminal size: %dx%d is none", sp.Width, sp.Height)
	}
	sp.Interactive = sp.Interactive || sp.Width > 0
	sp.Cluster = first(sp.Cluster, opts.Cluster)
	sp.ServerID = first(sp.ServerID, opts.Node)
	sp.Namespace = first(sp.Namespace, "default")
	if sp.Desktop != nil {
		sp.Protocol = first(sp.Protocol, "tdp")
	}
	sp.Protocol = first(sp.Protocol, "ssh")
	return nil
}

// The sub-messages that stand for the session in each of its events.

func (sp *Spec) userMetadata() *events.UserMetadata {
	return &events.UserMetadata{User: sp.User, Login: sp.Login}
}

func (sp *Spec) serverMetadata() *events.ServerMetadata {
	return &events.ServerMetadata{
		ServerNamespace: sp.Namespace,
		ServerId:        sp.ServerID,
		ServerHostname:  sp.ServerHostname,
		ServerAddr:      sp.ServerAddr,
		ServerLabels:    sp.ServerLabels,
	}
}

func (sp *Spec) connectionMetadata() *events.ConnectionMetadata {
	return &events.ConnectionMetadata{LocalAddr: sp.LocalAddr, RemoteAddr: sp.RemoteAddr, Protocol: sp.Protocol}
}

// fillIn sets the sub-messages that e has room for and that are not set.
func (sp *Spec) fillIn(e proto.Message) {
	m := e.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil || fd.IsList() || fd.IsMap() || m.Has(fd) {
			continue
		}
		if sub := sp.submessage(string(fd.Message().Name())); sub != nil {
			m.Set(fd, valueOf(sub))
		}
	}
}

func (sp *Spec) submessage(name string) proto.Message {
	switch name {
	case "UserMetadata":
		return sp.userMetadata()
	case "SessionMetadata":
		return &events.SessionMetadata{SessionId: sp.ID}
	case "ServerMetadata":
		return sp.serverMetadata()
	case "ConnectionMetadata":
		return sp.connectionMetadata()
	}
	return nil
}

// terminalSize is "W:H" as events have it.
func terminalSize(width, height int) string {
	return fmt.Sprintf("%d:%d", width, height)
}
