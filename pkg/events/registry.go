package events

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Kind is one case of OneOf: its number, its message, and the types and codes
// that its events carry in their Metadata.
type Kind struct {
	// Case is the field number in OneOf.
	Case int32
	// Name is the name of the message, "SessionStart".
	Name string
	// Type is the usual event type, "session.start".
	Type string
	// OtherTypes are further event types of the same message.
	OtherTypes []string
	// Codes are the event codes, none where events have no code or where it is
	// not known. A code says what happened only together with the type: T1006W is
	// session.rejected, T1006I is not.
	Codes []string
}

// HasType reports whether events of the kind can have the type.
func (k Kind) HasType(typ string) bool {
	return k.Type == typ || slices.Contains(k.OtherTypes, typ)
}

// HasCode reports whether events of the kind can have the code. Every event may
// leave its code empty, and a kind with no codes takes any.
func (k Kind) HasCode(code string) bool {
	return code == "" || len(k.Codes) == 0 || slices.Contains(k.Codes, code)
}

// Kinds returns every kind that this package knows, by rising case number.
func Kinds() []Kind {
	out := make([]Kind, len(kinds))
	for i, k := range kinds {
		out[i] = k.clone()
	}
	return out
}

// KindByCase returns the kind of a case of OneOf.
func KindByCase(n int32) (Kind, bool) {
	k, ok := byCase[n]
	if !ok {
		return Kind{}, false
	}
	return k.kind.clone(), true
}

// Known says whether OneOf has the case, for those who ask about every event.
func Known(n int32) bool { return n > 0 && int(n) < len(known) && known[n] }

// KindByType returns the kind whose events have the type and the code. An empty
// code goes with every type; any other must be one of the kind's.
func KindByType(typ, code string) (Kind, bool) {
	k, ok := byType[typ]
	if !ok || !k.kind.HasCode(code) {
		return Kind{}, false
	}
	return k.kind.clone(), true
}

func (k Kind) clone() Kind {
	k.OtherTypes, k.Codes = slices.Clone(k.OtherTypes), slices.Clone(k.Codes)
	return k
}

// kinds has one row for each case of OneOf.
var kinds = []Kind{
	{1, "UserLogin", "user.login", nil, []string{"T1000I", "T1000W", "T1001I", "T1001W", "T1010I", "T1011W", "T1012I", "T1013I", "T1013W", "T1014W"}},
	{2, "UserCreate", "user.create", nil, []string{"T1002I"}},
	{3, "UserDelete", "user.delete", nil, []string{"T1004I"}},
	{4, "UserPasswordChange", "user.password_change", nil, []string{"T1005I"}},
	{5, "SessionStart", "session.start", nil, []string{"T2000I"}},
	{6, "SessionJoin", "session.join", nil, []string{"T2001I"}},
	{7, "SessionPrint", "print", nil, nil},
	{8, "SessionReject", "session.rejected", nil, []string{"T1006W"}},
	{9, "Resize", "resize", nil, []string{"T2002I"}},
	{10, "SessionEnd", "session.end", nil, []string{"T2004I"}},
	{11, "SessionCommand", "session.command", nil, []string{"T4000I"}},
	{12, "SessionDisk", "session.disk", nil, []string{"T4001I"}},
	{13, "SessionNetwork", "session.network", nil, []string{"T4002I"}},
	{14, "SessionData", "session.data", nil, []string{"T2006I"}},
	{15, "SessionLeave", "session.leave", nil, []string{"T2003I"}},
	{16, "PortForward", "port", []string{"port.local", "port.remote", "port.remote_conn"}, []string{"T3003I", "T3003S", "T3003E"}},
	{17, "X11Forward", "x11-forward", nil, []string{"T3008I", "T3008W"}},
	{18, "SCP", "scp", nil, []string{"T3004I", "T3004E", "T3005I", "T3005E", "T3010E"}},
	{19, "Exec", "exec", nil, []string{"T3002I", "T3002E"}},
	{20, "Subsystem", "subsystem", nil, []string{"T3001I", "T3001E"}},
	{21, "ClientDisconnect", "client.disconnect", nil, []string{"T3006I"}},
	{22, "AuthAttempt", "auth", nil, []string{"T3007W"}},
	{23, "AccessRequestCreate", "access_request.create", []string{"access_request.update", "access_request.review"}, []string{"T5000I", "T5001I", "T5002I"}},
	{24, "UserTokenCreate", "reset_password_token.create", []string{"recovery_token.create", "privilege_token.create"}, []string{"T6000I", "T6001I", "T6002I"}},
	{25, "RoleCreate", "role.created", nil, []string{"T9000I"}},
	{26, "RoleDelete", "role.deleted", nil, []string{"T9001I"}},
	{27, "TrustedClusterCreate", "trusted_cluster.create", nil, []string{"T7000I"}},
	{28, "TrustedClusterDelete", "trusted_cluster.delete", nil, []string{"T7001I"}},
	{29, "TrustedClusterTokenCreate", "trusted_cluster_token.create", nil, []string{"T7002I"}},
	{30, "GithubConnectorCreate", "github.created", nil, []string{"T8000I"}},
	{31, "GithubConnectorDelete", "github.deleted", nil, []string{"T8001I"}},
	{32, "OIDCConnectorCreate", "oidc.created", nil, []string{"T8100I"}},
	{33, "OIDCConnectorDelete", "oidc.deleted", nil, []string{"T8101I"}},
	{34, "SAMLConnectorCreate", "saml.created", nil, []string{"T8200I"}},
	{35, "SAMLConnectorDelete", "saml.deleted", nil, []string{"T8201I"}},
	{43, "SessionUpload", "session.upload", nil, []string{"T2005I"}},
	{59, "WindowsDesktopSessionStart", "windows.desktop.session.start", nil, []string{"TDP00I", "TDP00W"}},
	{60, "WindowsDesktopSessionEnd", "windows.desktop.session.end", nil, []string{"TDP01I"}},
	{69, "DesktopRecording", "desktop.recording", nil, nil},
	{70, "DesktopClipboardSend", "desktop.clipboard.send", nil, []string{"TDP02I"}},
	{71, "DesktopClipboardReceive", "desktop.clipboard.receive", nil, []string{"TDP03I"}},
	{80, "Unknown", "unknown", nil, []string{"TCC00E"}},
	{91, "SFTP", "sftp", nil, sftpCodes()},
	{94, "SessionRecordingAccess", "session.recording.access", nil, []string{"T2012I"}},
	{254, "LinuxDesktopSessionStart", "linux.desktop.session.start", nil, nil},
	{255, "LinuxDesktopSessionEnd", "linux.desktop.session.end", nil, nil},
}

// sftpCodes returns the codes of SFTP events: one a number of SFTPAction, for
// success and for failure, and one for what is not allowed.
func sftpCodes() []string {
	var codes []string
	for n := 1; n <= 19; n++ {
		codes = append(codes, fmt.Sprintf("TS%03dI", n), fmt.Sprintf("TS%03dE", n))
	}
	return append(codes, "TS020E")
}

// entry is a kind and its field in OneOf.
type entry struct {
	kind  Kind
	field protoreflect.FieldDescriptor
}

var (
	oneofEvent protoreflect.OneofDescriptor
	byCase     = map[int32]*entry{}
	byType     = map[string]*entry{}
	byName     = map[protoreflect.FullName]*entry{}
	known      []bool // by case
)

// init works out what the package knows of its messages. The descriptors come
// first: without the call they would be there only after the init functions of
// files whose names sort behind theirs.
func init() {
	file_tapedeck_events_events_proto_init()
	indexKinds()
	buildLayouts()
	buildShapes()
}

// indexKinds fills the indexes. The table and events.proto are both compiled
// in, so if they disagree no program with this package starts.
func indexKinds() {
	oneofEvent = File_tapedeck_events_events_proto.Messages().ByName("OneOf").Oneofs().ByName("event")
	if n := oneofEvent.Fields().Len(); n != len(kinds) {
		panic(fmt.Sprintf("events: %d cases in events.proto, %d kinds", n, len(kinds)))
	}
	known = make([]bool, kinds[len(kinds)-1].Case+1) // they are in order
	for _, k := range kinds {
		known[k.Case] = true
		fd := oneofEvent.Fields().ByNumber(protoreflect.FieldNumber(k.Case))
		if fd == nil || string(fd.Message().Name()) != k.Name {
			panic(fmt.Sprintf("events: case %d is not %s in events.proto", k.Case, k.Name))
		}
		e := &entry{k, fd}
		byCase[k.Case] = e
		byName[fd.Message().FullName()] = e
		for _, t := range append([]string{k.Type}, k.OtherTypes...) {
			if byType[t] != nil {
				panic(fmt.Sprintf("events: type %s has two kinds", t))
			}
			byType[t] = e
		}
	}
}
