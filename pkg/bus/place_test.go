package bus

import (
	"testing"
	"time"
)

func TestPlaceOfAMessage(t *testing.T) {
	tests := []struct {
		name, reply string
		want        place
	}{
		{"an old server's", "$JS.ACK.EVENTS-0.abc.1.42.7.1637249639792000000.5", place{42, 7, time.Unix(1637249639, 792000000).UTC()}},
		{"with domain and account", "$JS.ACK.hub.HASH.EVENTS-0.abc.1.42.7.1637249639792000000.5", place{42, 7, time.Unix(1637249639, 792000000).UTC()}},
		{"and something behind", "$JS.ACK._.HASH.EVENTS-0.abc.1.42.7.1637249639792000000.5.rnd", place{42, 7, time.Unix(1637249639, 792000000).UTC()}},
		{"none", "", place{}},
		{"another's", "_INBOX.EVENTS-0.abc.1.42.7.1.5.x.y.z", place{}},
		{"too short", "$JS.ACK.EVENTS-0.abc.1.42.7.1", place{}},
		{"of ten tokens", "$JS.ACK.EVENTS-0.abc.1.42.7.1.5.6", place{}},
		{"no number", "$JS.ACK.EVENTS-0.abc.1.4x.7.1.5", place{}},
		{"an empty number", "$JS.ACK.EVENTS-0.abc.1..7.1.5", place{}},
		{"a number that is too large", "$JS.ACK.EVENTS-0.abc.1.42.99999999999999999999.1.5", place{}},
		{"a time beyond what there is", "$JS.ACK.EVENTS-0.abc.1.42.7.9999999999999999999.5", place{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := placeOf(tt.reply)
			if got != tt.want || (err != nil) != (tt.want == place{}) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
			if n := testing.AllocsPerRun(10, func() { _, _ = placeOf(tt.reply) }); n > 0 && err == nil {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
