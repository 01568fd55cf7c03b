package recorder_test

import (
	"os"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

func TestLoadSpecTakesTheSessionFromTheEnvironment(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		env  map[string]string
		want recorder.Spec
	}{
		{"local", map[string]string{"USER": "joe", "LOGNAME": "joe"},
			recorder.Spec{User: "joe", Login: "joe", Protocol: "local"}},
		{"a shared account", map[string]string{"USER": "ops", "LOGNAME": "ops", "TAPEDECK_USER": "joe"},
			recorder.Spec{User: "joe", Login: "ops", Protocol: "local"}},
		{"ssh", map[string]string{"USER": "joe", "LOGNAME": "root", "SSH_CONNECTION": "192.0.2.1 4022 198.51.100.2 22"},
			recorder.Spec{User: "joe", Login: "root", Protocol: "ssh", RemoteAddr: "192.0.2.1:4022", LocalAddr: "198.51.100.2:22", ServerAddr: "198.51.100.2:22"}},
		{"ssh over IPv6", map[string]string{"USER": "joe", "SSH_CONNECTION": "2001:db8::1 4022 2001:db8::2 22"},
			recorder.Spec{User: "joe", Login: "joe", Protocol: "ssh", RemoteAddr: "[2001:db8::1]:4022", LocalAddr: "[2001:db8::2]:22", ServerAddr: "[2001:db8::2]:22"}},
		{"ssh of old", map[string]string{"USER": "joe", "SSH_CLIENT": "192.0.2.1 4022 22"},
			recorder.Spec{User: "joe", Login: "joe", Protocol: "ssh", RemoteAddr: "192.0.2.1:4022"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := recorder.LoadSpec(func(key string) string { return tt.env[key] })
			if got.User != tt.want.User || got.Login != tt.want.Login || got.Protocol != tt.want.Protocol || got.RemoteAddr != tt.want.RemoteAddr ||
				got.LocalAddr != tt.want.LocalAddr || got.ServerAddr != tt.want.ServerAddr || got.ServerHostname != host {
				t.Errorf("got %+v", got)
			}
		})
	}
	if spec := recorder.LoadSpec(nil); spec.User == "" || spec.Login == "" {
		t.Errorf("without USER and LOGNAME: %+v", spec)
	}
}

func TestASpecThatIsWrongStartsNoSession(t *testing.T) {
	r := newSite(t).recorder(t, recorder.Options{})
	for name, spec := range map[string]recorder.Spec{
		"a dot in the id": {ID: "a.b"},
		"half a size":     {Width: 80},
		"a negative size": {Width: -1, Height: -1},
	} {
		if _, err := r.Start(t.Context(), spec); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	if _, err := recorder.New(nil, newSite(t).layout, recorder.Options{Node: "no dots.please"}); err == nil {
		t.Error("a node with a dot was taken")
	}
}
