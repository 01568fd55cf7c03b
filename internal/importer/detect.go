package importer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	formatAuto       = "auto"
	formatCast       = "cast"
	formatTypescript = "typescript"
	formatRecording  = "recording"
	formatJSON       = "json"
)

var (
	errNoTiming = errors.New("a typescript needs its timing file: --timing FILE (script --log-timing writes one)")
	errUnknown  = errors.New("not known as asciicast, typescript, recording or JSON lines of events; --format says which it is")
	errEmpty    = errors.New("the file is empty")
)

// detect looks at how the input begins, and takes nothing from it.
func detect(in *bufio.Reader) (string, error) {
	head, _ := in.Peek(1)
	if len(head) == 0 {
		_, err := in.ReadByte() // the reason why there is nothing
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read: %w", err)
		}
		return "", errEmpty
	}
	head, _ = in.Peek(8)
	if len(head) == 8 {
		if v := binary.BigEndian.Uint64(head); v == 1 || v == 2 {
			return formatRecording, nil
		}
	}
	if bytes.HasPrefix(head, []byte("Script s")) { // Script started on
		return formatTypescript, nil
	}
	return detectJSON(in)
}

// detectJSON reads the names of the first object's members until one tells. It
// looks no farther than the reader's buffer, and waits for no second line.
func detectJSON(in *bufio.Reader) (string, error) {
	head := firstLine(in)
	dec := json.NewDecoder(bytes.NewReader(head))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", errUnknown
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			break
		}
		switch t {
		case "version":
			return formatCast, nil
		case "event", "case":
			return formatJSON, nil
		}
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			break
		}
	}
	return "", errUnknown
}

// firstLine is the first line, or as much of it as the buffer holds.
func firstLine(in *bufio.Reader) []byte {
	for {
		head, _ := in.Peek(in.Buffered())
		if line, _, ok := bytes.Cut(head, []byte("\n")); ok {
			return line
		}
		if _, err := in.Peek(len(head) + 1); err != nil { // the end, or a full buffer
			return head
		}
	}
}
