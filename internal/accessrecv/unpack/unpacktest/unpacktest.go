// Package unpacktest makes what a receiver must bear.
package unpacktest

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"testing"
)

// Squeeze is b in zlib.
func Squeeze(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, zlib.BestCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Bomb is zlib that inflates to n MiB of spaces after a bracket, about a
// thousandth as long. It is one block over and over, so that it is quickly made.
func Bomb(t testing.TB, n int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, zlib.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) (block []byte) {
		from := buf.Len()
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(buf.Bytes()[from:])
	}
	mega := bytes.Repeat([]byte(" "), 1<<20)
	write([]byte("["))
	write(mega)
	block := write(mega) // refers to a block like itself
	return append(buf.Bytes(), bytes.Repeat(block, n-2)...)
}

// Seal puts zlib into the field's envelope.
func Seal(z []byte) []byte {
	return fmt.Appendf(nil, `{"type":"newt/access-log","data":{"compressed":"%s"}}`, base64.StdEncoding.EncodeToString(z))
}
