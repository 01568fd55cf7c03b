package compose

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestNoRoleCanDoMoreThanItMust(t *testing.T) {
	s := newSite(t)
	other := bus.EventSubject(3, "gw-2", "sid")
	consumer := func(stream, name, filter string) string {
		b, err := json.Marshal(map[string]any{"stream_name": stream, "config": map[string]any{
			"name": name, "filter_subject": filter, "ack_policy": "none", "deliver_policy": "all", "inactive_threshold": time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, try := range []struct{ user, name, subject, body string }{
		{"producer-demo", "publish for another node", other, "x"},
		{"producer-demo", "read another node's event directly", "$JS.API.DIRECT.GET.EVENTS-3." + other, ""},
		{"producer-demo", "read any event by its sequence", "$JS.API.DIRECT.GET.EVENTS-3", `{"seq":1}`},
		{"producer-demo", "read any event by the stream's API", "$JS.API.STREAM.MSG.GET.EVENTS-3", `{"seq":1}`},
		{"producer-demo", "consume another node's events", "$JS.API.CONSUMER.CREATE.EVENTS-3.mine." + other, consumer("EVENTS-3", "mine", other)},
		{"producer-demo", "consume with a durable of the old form", "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS-3.mine", consumer("EVENTS-3", "mine", "")},
		{"producer-demo", "forge another node's status", bus.StatusSubject("gw-2", "sid"), "x"},
		{"producer-demo", "forge its own status", bus.StatusSubject("demo", "sid"), "x"},
		{"producer-demo", "change a stream", "$JS.API.STREAM.UPDATE.EVENTS-3", `{"name":"EVENTS-3"}`},
		{"producer-demo", "delete a stream", "$JS.API.STREAM.DELETE.EVENTS-3", ""},
		{"producer-demo", "purge a stream", "$JS.API.STREAM.PURGE.EVENTS-3", ""},
		{"producer-demo", "delete a message", "$JS.API.STREAM.MSG.DELETE.EVENTS-3", `{"seq":1}`},
		{"producer-demo", "make a stream", "$JS.API.STREAM.CREATE.MINE", `{"name":"MINE","subjects":["tapedeck.status.>"]}`},
		{"producer-demo", "write a lease", bus.LeaseSubject(3), "{}"},
		{"producer-demo", "write an upload log", bus.LogSubject(3, "sid"), "{}"},
		{"producer-demo", "notify", bus.NotifySubject("completed"), "{}"},
		{"producer-demo", "read access records", "$JS.API.CONSUMER.CREATE.ACCESS.mine.tapedeck.access.>", consumer("ACCESS", "mine", "tapedeck.access.>")},

		{"slicer", "publish an event", other, "x"},
		{"slicer", "delete a stream", "$JS.API.STREAM.DELETE.EVENTS-3", ""},
		{"slicer", "change a stream", "$JS.API.STREAM.UPDATE.UPLOADS", `{"name":"UPLOADS"}`},
		{"slicer", "remove the completers' consumer", "$JS.API.CONSUMER.DELETE.UPLOADS.completer", ""},
		{"slicer", "read access records", "$JS.API.CONSUMER.CREATE.ACCESS.mine.tapedeck.access.>", consumer("ACCESS", "mine", "tapedeck.access.>")},
		{"slicer", "notify", bus.NotifySubject("completed"), "{}"},

		{"completer", "publish an event", other, "x"},
		{"completer", "write a lease", bus.LeaseSubject(3), "{}"},
		{"completer", "write a cursor", bus.CursorSubject(3), "{}"},
		{"completer", "write a checkpoint", bus.CheckpointSubject(3, "sid"), "{}"},
		{"completer", "purge events", "$JS.API.STREAM.PURGE.EVENTS-3", ""},
		{"completer", "join the slicers", "$KV.tapedeck-members.mine", "1"},

		{"accesslog", "read events", "$JS.API.CONSUMER.CREATE.EVENTS-3.mine." + other, consumer("EVENTS-3", "mine", other)},
		{"accesslog", "read upload logs", "$JS.API.STREAM.MSG.GET.UPLOADS", `{"last_by_subj":"tapedeck.uploads.3.lease"}`},
		{"accesslog", "publish an access record", bus.AccessSubject("7"), "{}"},
		{"accesslog", "notify", bus.NotifySubject("completed"), "{}"},

		{"viewer", "publish an event", other, "x"},
		{"viewer", "write an upload log", bus.LogSubject(3, "sid"), "{}"},
		{"viewer", "delete a record of an upload log", "$JS.API.STREAM.MSG.DELETE.UPLOADS", `{"seq":1}`},
		{"viewer", "remove the completers' consumer", "$JS.API.CONSUMER.DELETE.UPLOADS.completer", ""},
		{"viewer", "take what the completers are to get", "$JS.API.CONSUMER.MSG.NEXT.UPLOADS.completer", "1"},
		{"viewer", "write another audit event", bus.AuditSubject("user.login"), "{}"},
		{"viewer", "purge events", "$JS.API.STREAM.PURGE.EVENTS-3", ""},
		{"viewer", "change a stream", "$JS.API.STREAM.UPDATE.EVENTS-3", `{"name":"EVENTS-3"}`},

		{"web", "publish an event", other, "x"},
		{"web", "write another audit event", bus.AuditSubject("user.login"), "{}"},
		{"web", "write an upload log", bus.LogSubject(3, "sid"), "{}"},
		{"web", "purge events", "$JS.API.STREAM.PURGE.EVENTS-3", ""},
	} {
		t.Run(try.user+" may not "+try.name, func(t *testing.T) {
			nc := s.as(t, try.user).NATS()
			s.denied.take()
			inbox := nc.NewInbox()
			answers, err := nc.SubscribeSync(inbox)
			if err == nil {
				err = nc.PublishRequest(try.subject, inbox, []byte(try.body))
			}
			if err == nil {
				err = nc.Flush() // the server has read it, and has said what it thinks of it
			}
			if err != nil {
				t.Fatal(err)
			}
			if said := s.denied.take(); len(said) != 1 || !strings.Contains(said[0], `Publish Violation - Subject "`+try.subject+`"`) {
				t.Errorf("server did not deny it: %q", said)
			}
			if msg, err := answers.NextMsg(20 * time.Millisecond); err == nil {
				t.Errorf("it was answered: %s", msg.Data)
			}
		})
	}
	for user, subject := range map[string]string{
		"producer-demo": "tapedeck.events.>", "slicer": "tapedeck.status.>", "completer": "_INBOX_slicer.>",
		"accesslog": "tapedeck.events.>", "viewer": "tapedeck.events.>", "web": "_INBOX_viewer.>",
	} {
		t.Run(user+" may not listen to "+subject, func(t *testing.T) {
			nc := s.as(t, user).NATS()
			s.denied.take()
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			_ = nc.Flush()
			if said := s.denied.take(); len(said) != 1 || !strings.Contains(said[0], "Subscription Violation") {
				t.Errorf("server did not deny it: %q", said)
			}
		})
	}
}
