package events

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// yearOne is the Unix time of Go's zero time.Time, which stands for a time that
// is not set.
const yearOne = -62135596800

// option reports whether a field has one of the options of events.proto.
func option(fd protoreflect.FieldDescriptor, x protoreflect.ExtensionType) bool {
	opts := fd.Options()
	return opts != nil && proto.GetExtension(opts, x).(bool)
}

// A layout is what is to be known of a message beyond its descriptor, worked
// out once.
type layout struct {
	fields []fieldLayout // in the order of events.proto
	inner  []fieldLayout // those that hold messages
	byJSON map[string]*member
}

type fieldLayout struct {
	protoreflect.FieldDescriptor
	flat, emit, always, payload bool
	msg                         *layout // of the sub-message, nil for a type from elsewhere
}

// A member is a member of a message's JSON object: a field of the message, or
// of a flat sub-message reached through via.
type member struct {
	via   []protoreflect.FieldDescriptor
	field protoreflect.FieldDescriptor
}

// layouts has every message of events.proto. It is built by init and then only
// read.
var layouts = map[protoreflect.FullName]*layout{}

func buildLayouts() {
	all := layouts
	messages := File_tapedeck_events_events_proto.Messages()
	for i := range messages.Len() {
		all[messages.Get(i).FullName()] = &layout{byJSON: map[string]*member{}}
	}
	for i := range messages.Len() {
		d := messages.Get(i)
		l := all[d.FullName()]
		for j := range d.Fields().Len() {
			fd := d.Fields().Get(j)
			f := fieldLayout{
				FieldDescriptor: fd,
				flat:            option(fd, E_Flat),
				emit:            option(fd, E_Emit) || option(fd, E_Flat),
				always:          option(fd, E_Always),
				payload:         option(fd, E_Payload),
			}
			if fd.Message() != nil && !fd.IsMap() {
				f.msg = all[fd.Message().FullName()]
				l.inner = append(l.inner, f)
			}
			l.fields = append(l.fields, f)
		}
	}
	for _, l := range all {
		l.index(l.byJSON, nil)
	}
}

// index adds the JSON members of l, those of flat sub-messages among them.
func (l *layout) index(to map[string]*member, via []protoreflect.FieldDescriptor) {
	for _, f := range l.fields {
		if f.flat {
			f.msg.index(to, append(via[:len(via):len(via)], f.FieldDescriptor))
			continue
		}
		to[f.JSONName()] = &member{via, f.FieldDescriptor}
	}
}

func layoutOf(m protoreflect.Message) *layout { return layouts[m.Descriptor().FullName()] }

// completed returns m with every sub-message and time set that must be on the
// wire. It does not change m: what is whole is shared, the rest is copied.
func completed(m protoreflect.Message) protoreflect.Message {
	l := layoutOf(m)
	if l == nil {
		return m
	}
	out := m
	set := func(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
		if out == m {
			out = shallow(m)
		}
		out.Set(fd, v)
	}
	for _, f := range l.inner {
		fd := f.FieldDescriptor
		switch {
		case fd.IsList():
			if list, changed := completedList(m.Get(fd).List(), m, fd); changed {
				set(fd, list)
			}
		case m.Has(fd):
			sub := m.Get(fd).Message()
			if !sub.IsValid() { // a typed nil in the oneof
				sub = m.NewField(fd).Message()
			}
			if c := completed(sub); c != m.Get(fd).Message() {
				set(fd, protoreflect.ValueOfMessage(c))
			}
		case f.emit && f.msg == nil:
			set(fd, protoreflect.ValueOfMessage((&timestamppb.Timestamp{Seconds: yearOne}).ProtoReflect()))
		case f.emit:
			set(fd, protoreflect.ValueOfMessage(completed(m.NewField(fd).Message())))
		}
	}
	return out
}

func completedList(list protoreflect.List, m protoreflect.Message, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	changed := false
	out := m.NewField(fd)
	for i := range list.Len() {
		c := completed(list.Get(i).Message())
		changed = changed || c != list.Get(i).Message()
		out.List().Append(protoreflect.ValueOfMessage(c))
	}
	return out, changed
}

// shallow copies m and shares what its fields hold.
func shallow(m protoreflect.Message) protoreflect.Message {
	out := m.New()
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out.Set(fd, v)
		return true
	})
	if u := m.GetUnknown(); len(u) > 0 {
		out.SetUnknown(u)
	}
	return out
}
