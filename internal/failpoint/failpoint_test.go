package failpoint

import (
	"errors"
	"strings"
	"testing"
)

func TestASpecThatMakesNoSenseIsRefused(t *testing.T) {
	for _, spec := range []string{"x", "=crash", "x=", "x=explode", "x=crash@", "x=crash@0", "x=crash@two", "x=crash,"} {
		if _, err := parse(spec); err == nil {
			t.Errorf("%q was taken", spec)
		}
	}
}

func TestAFailpointActsAtItsCountAndOnlyThen(t *testing.T) {
	s, err := parse("a=refuse@2,b/*=lose,c=trace")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{"a", "a", "a", "b/x", "b/y", "b/x", "c", "d"} {
		got = append(got, s.hit(name))
	}
	if s := strings.Join(got, ","); s != ",refuse,,lose,lose,,," {
		t.Errorf("got %s", s)
	}
}

func TestAWriteIsRefusedOrDoneAndItsReplyLost(t *testing.T) {
	defer func() { active = nil }()
	tests := []struct {
		name, spec string
		done       bool
		want       error
	}{
		{"nothing asked for", "", true, nil},
		{"refused", "w=refuse", false, ErrRefused},
		{"done, reply lost", "w=lose", true, ErrLost},
		{"by its second name", "x=refuse", false, ErrRefused},
		{"another write", "v=refuse", true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			active, _ = parse(tt.spec)
			done := false
			err := Around(func() error { done = true; return nil }, "w", "x")
			if done != tt.done || !errors.Is(err, tt.want) {
				t.Errorf("done %v, error %v", done, err)
			}
		})
	}
}
