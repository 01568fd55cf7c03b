package slicefmt

import (
	"cmp"
	"slices"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// Metadata is what the events at a session's beginning and end say about it, as
// far as they do. A session that never ended has what its start says.
type Metadata struct {
	Kind         string    `json:"kind,omitempty"`  // ssh, k8s, windows_desktop, linux_desktop
	User         string    `json:"user,omitempty"`  // who
	Login        string    `json:"login,omitempty"` // as whom on the host or desktop
	Hostname     string    `json:"hostname,omitempty"`
	ServerID     string    `json:"server_id,omitempty"`
	ServerAddr   string    `json:"server_addr,omitempty"`
	Addr         string    `json:"addr,omitempty"` // where the client came from
	Cluster      string    `json:"cluster,omitempty"`
	Start        time.Time `json:"start,omitzero"`    // of the first event
	End          time.Time `json:"end,omitzero"`      // of the last event
	Size         string    `json:"size,omitempty"`    // of the terminal at the start, "W:H"
	Command      []string  `json:"command,omitempty"` // instead of a shell
	Participants []string  `json:"participants,omitempty"`
	Reason       string    `json:"reason,omitempty"`
}

// Observe learns from one event. Events are shown in order: the first part's and
// the last part's are enough. It decodes those that begin, join or end a session
// and looks at the time of the others; an event that cannot be decoded teaches it
// its time.
func (m *Metadata) Observe(h events.Header, oneof []byte) {
	if t := h.Time().UTC(); !t.IsZero() {
		if m.Start.IsZero() {
			m.Start = t
		}
		m.End = t
	}
	if !tells[h.Case] {
		return
	}
	o, err := events.Unmarshal(oneof)
	if err != nil {
		return
	}
	switch e := o.GetEvent().(type) {
	case *events.OneOf_SessionStart:
		m.observeStart(e.SessionStart)
	case *events.OneOf_SessionJoin:
		m.join(e.SessionJoin.GetUser().GetUser())
	case *events.OneOf_SessionEnd:
		m.observeEnd(e.SessionEnd)
	case *events.OneOf_WindowsDesktopSessionStart:
		w := e.WindowsDesktopSessionStart
		m.observeDesktop("windows_desktop", w.GetWindowsUser(), w)
	case *events.OneOf_LinuxDesktopSessionStart:
		l := e.LinuxDesktopSessionStart
		m.observeDesktop("linux_desktop", l.GetLinuxUser(), l)
	case *events.OneOf_WindowsDesktopSessionEnd:
		m.join(e.WindowsDesktopSessionEnd.GetParticipants()...)
	case *events.OneOf_LinuxDesktopSessionEnd:
		m.join(e.LinuxDesktopSessionEnd.GetParticipants()...)
	}
}

// tells is the cases that Observe decodes.
var tells = map[int32]bool{5: true, 6: true, 10: true, 59: true, 60: true, 254: true, 255: true}

func (m *Metadata) observeStart(e *events.SessionStart) {
	m.Kind = "ssh"
	cluster := e.GetKubernetesCluster().GetKubernetesCluster()
	if cluster != "" {
		m.Kind = "k8s"
	}
	m.User, m.Login = e.GetUser().GetUser(), e.GetUser().GetLogin()
	m.Hostname, m.ServerID = cmp.Or(e.GetServer().GetServerHostname(), cluster), e.GetServer().GetServerId()
	m.ServerAddr, m.Addr = e.GetServer().GetServerAddr(), e.GetConnection().GetRemoteAddr()
	m.Cluster, m.Size = e.GetMetadata().GetClusterName(), e.GetTerminalSize()
	m.Command, m.Reason = e.GetInitialCommand(), e.GetReason()
	m.join(m.User)
}

// observeEnd takes who it was also from the end, for a recording without its start.
func (m *Metadata) observeEnd(e *events.SessionEnd) {
	m.User, m.Login = cmp.Or(m.User, e.GetUser().GetUser()), cmp.Or(m.Login, e.GetUser().GetLogin())
	m.Addr, m.Cluster = cmp.Or(m.Addr, e.GetConnection().GetRemoteAddr()), cmp.Or(m.Cluster, e.GetMetadata().GetClusterName())
	m.join(e.GetParticipants()...)
}

type desktopStart interface {
	GetMetadata() *events.Metadata
	GetUser() *events.UserMetadata
	GetConnection() *events.ConnectionMetadata
	GetDesktopAddr() string
	GetDesktopName() string
}

func (m *Metadata) observeDesktop(kind, login string, e desktopStart) {
	m.Kind, m.User, m.Login = kind, e.GetUser().GetUser(), login
	m.Hostname, m.ServerAddr = e.GetDesktopName(), e.GetDesktopAddr()
	m.Addr, m.Cluster = e.GetConnection().GetRemoteAddr(), e.GetMetadata().GetClusterName()
	m.join(m.User)
}

// maxParticipants bounds a list that events can make longer at will.
const maxParticipants = 1000

func (m *Metadata) join(users ...string) {
	for _, u := range users {
		if u == "" || len(m.Participants) >= maxParticipants || slices.Contains(m.Participants, u) {
			continue
		}
		m.Participants = append(m.Participants, u)
	}
}
