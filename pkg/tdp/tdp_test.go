package tdp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"image"
	"reflect"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// layouts are messages with their bytes as the format has them.
var layouts = []struct {
	name string
	m    tdp.Message
	hex  string
}{
	{"screen size", tdp.ScreenSize{Width: 1920, Height: 1080}, "01" + "00000780" + "00000438"},
	{"frame", tdp.Frame{Rect: image.Rect(1, 2, 65, 66), PNG: []byte("png"), Old: true}, "02" + "00000001" + "00000002" + "00000041" + "00000042" + "706e67"},
	{"mouse move", tdp.MouseMove{X: 10, Y: 300}, "03" + "0000000a" + "0000012c"},
	{"button down", tdp.Button{Button: 2, Down: true}, "04" + "02" + "01"},
	{"clipboard", tdp.Clipboard{Data: []byte("hi")}, "06" + "00000002" + "6869"},
	{"error", tdp.Text{Text: "no"}, "09" + "00000002" + "6e6f"},
	{"frame 2", tdp.Frame{Rect: image.Rect(0, 64, 64, 128), PNG: []byte("png")}, "1b" + "00000003" + "00000000" + "00000040" + "00000040" + "00000080" + "706e67"},
	{"alert", tdp.Text{Alert: true, Text: "no"}, "1c" + "00000002" + "6e6f" + "00"},
	{"fast path", tdp.FastPath{Data: []byte{9, 8}}, "1d" + "00000002" + "0908"},
	{"activated", tdp.Activated{IOChannel: 1003, UserChannel: 1004, Width: 800, Height: 600}, "1f" + "03eb" + "03ec" + "0320" + "0258"},
	{"unknown", tdp.Unknown{Data: []byte{200, 1}}, "c8" + "01"},
}

func TestLayouts(t *testing.T) {
	for _, tt := range layouts {
		t.Run(tt.name, func(t *testing.T) {
			want, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.m.Append(nil); !bytes.Equal(got, want) {
				t.Errorf("encoded as %x, want %x", got, want)
			}
			got, err := tdp.Parse(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.m) {
				t.Errorf("parsed as %#v, want %#v", got, tt.m)
			}
			if got.Type() != tdp.Type(want[0]) {
				t.Errorf("is of type %d, want %d", got.Type(), want[0])
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	for _, tt := range layouts {
		if tt.name == "unknown" {
			continue
		}
		whole := tt.m.Append(nil)
		for n := range whole {
			if tt.m.Type() == tdp.TypeFrame && n >= 17 || tt.m.Type() == tdp.TypeAlert && n == len(whole)-1 {
				continue // a PNG to the end of the message; a severity that may be missing
			}
			if _, err := tdp.Parse(whole[:n]); !errors.Is(err, tdp.ErrShort) {
				t.Errorf("%s, %d of %d bytes: %v, want ErrShort", tt.name, n, len(whole), err)
			}
		}
	}
}

func TestSizesOutOfRange(t *testing.T) {
	for _, m := range []tdp.Message{
		tdp.ScreenSize{Width: tdp.MaxSide + 1, Height: 1},
		tdp.Frame{Rect: image.Rectangle{Min: image.Pt(5, 0), Max: image.Pt(4, 1)}},
		tdp.Frame{Rect: image.Rectangle{Max: image.Pt(1, 1<<31)}, Old: true},
		tdp.MouseMove{X: 0, Y: 1 << 31},
	} {
		if _, err := tdp.Parse(m.Append(nil)); !errors.Is(err, tdp.ErrSize) {
			t.Errorf("%#v: %v, want ErrSize", m, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range layouts {
		f.Add(tt.m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := tdp.Parse(b)
		if err != nil {
			return
		}
		again, err := tdp.Parse(m.Append(nil))
		if err != nil {
			t.Fatalf("%#v does not parse again: %v", m, err)
		}
		if !bytes.Equal(again.Append(nil), m.Append(nil)) {
			t.Fatalf("%#v is %#v when parsed again", m, again)
		}
	})
}
