package cast

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// scriptStarted begins the first line of every typescript.
const scriptStarted = "Script started on "

// maxChunk is the most bytes that one timing line may speak for.
const maxChunk = 64 << 20

// A Typescript reads what script(1) of util-linux writes: the output file and
// the timing file, in the classic form (a delay and a length a line) and the
// advanced (streams, headers and signals, as with --log-timing and --log-io or
// --log-out). It is a [Source]. Input comes as events without data, unless
// input and output are in one file.
type Typescript struct {
	out      *bufio.Reader
	timing   *Lines
	header   Header
	shared   bool   // input and output are in one file
	inputLog string // as the advanced timing names them
	pending  *Event // read ahead while looking for headers
	now      time.Duration
	partial  error // after the bytes that a short typescript still had
	err      error
}

// NewTypescript reads the beginning of both files: the header of the
// typescript, and of an advanced timing file. An error about the typescript
// says so; an error about a line of the timing file is a *LineError.
func NewTypescript(typescript, timing io.Reader) (*Typescript, error) {
	t := &Typescript{
		out: bufio.NewReaderSize(typescript, 64<<10), timing: NewLines(timing),
		header: Header{Width: 80, Height: 24},
	}
	if err := t.readHead(); err != nil {
		return nil, err
	}
	e, err := t.next() // takes the headers of an advanced timing file with it
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if t.err = err; err == nil {
		t.pending = &e
	}
	return t, nil
}

// Header returns what the typescript and the timing file say. Without a size in
// them, as when script did not run on a terminal, it is 80 by 24.
func (t *Typescript) Header() Header { return t.header }

// Next returns the next event.
func (t *Typescript) Next() (Event, error) {
	if e := t.pending; e != nil {
		t.pending = nil
		return *e, nil
	}
	if t.err != nil {
		return Event{}, t.err
	}
	e, err := t.next()
	t.err = err
	return e, err
}

func (t *Typescript) next() (Event, error) {
	if t.partial != nil {
		return Event{}, t.partial
	}
	for {
		line, err := t.timing.Next()
		if err != nil {
			return Event{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, ok, err := t.entry(string(line))
		if err != nil {
			return Event{}, &LineError{t.timing.n, err}
		}
		if ok {
			e.Time, e.Line = t.now, t.timing.n
			return e, nil
		}
	}
}

// entry reads one line of either form. It returns false for a line that is no
// event.
func (t *Typescript) entry(line string) (Event, bool, error) {
	kind := "O"
	rest := line
	if line[0] < '0' || line[0] > '9' {
		kind, rest, _ = strings.Cut(line, " ")
	}
	if len(kind) != 1 || !strings.Contains("OISH", kind) {
		return Event{}, false, fmt.Errorf("timing entry %q is neither O, I, S nor H", clip(kind))
	}
	delay, rest, _ := strings.Cut(rest, " ")
	d, err := parseTime([]byte(delay))
	if err != nil {
		return Event{}, false, err
	}
	if t.now+d > MaxTime {
		return Event{}, false, fmt.Errorf("time %v is beyond %v", t.now+d, MaxTime)
	}
	t.now += d
	switch kind {
	case "O":
		e, err := t.chunk(rest, Output, true)
		return e, true, err
	case "I":
		e, err := t.chunk(rest, Input, t.shared)
		return e, true, err
	case "S":
		return t.signal(rest)
	}
	return Event{}, false, t.headerLine(rest)
}

// chunk reads the bytes that an entry speaks for. If the typescript ends in
// the middle of them, what is there is returned and the error comes next.
func (t *Typescript) chunk(length, code string, here bool) (Event, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(length), 10, 64)
	if err != nil || n < 0 || n > maxChunk {
		return Event{}, fmt.Errorf("length %q is not a number from 0 to %d", clip(length), maxChunk)
	}
	if !here {
		return Event{Code: code}, nil
	}
	var b bytes.Buffer
	got, err := io.CopyN(&b, t.out, n)
	if errors.Is(err, io.EOF) {
		t.partial = &LineError{t.timing.n, fmt.Errorf("typescript ends %d bytes into an entry of %d", got, n)}
		if got == 0 {
			return Event{}, errors.Unwrap(t.partial)
		}
	} else if err != nil {
		return Event{}, fmt.Errorf("read typescript: %w", err)
	}
	return Event{Code: code, Data: b.Bytes()}, nil
}

// signal takes the new size out of a window change; other signals are no events.
func (t *Typescript) signal(rest string) (Event, bool, error) {
	name, args, _ := strings.Cut(rest, " ")
	if name != "SIGWINCH" {
		return Event{}, false, nil
	}
	var width, height string
	for _, f := range strings.Fields(args) {
		switch k, v, _ := strings.Cut(f, "="); k {
		case "COLS":
			width = v
		case "ROWS":
			height = v
		}
	}
	size := width + "x" + height
	if _, _, err := ParseSize(size, 'x'); err != nil {
		return Event{}, false, fmt.Errorf("window change: %w", err)
	}
	return Event{Code: Resize, Data: []byte(size)}, true, nil
}

func (t *Typescript) headerLine(rest string) error {
	name, value, _ := strings.Cut(rest, " ")
	switch name {
	case "START_TIME":
		t.header.Start = parseScriptTime(value)
	case "TERM":
		t.header.TermType = value
	case "COMMAND":
		t.header.Command = value
	case "INPUT_LOG":
		t.shared = t.inputLog != "" && t.inputLog == value
		t.inputLog = value
	case "OUTPUT_LOG":
		t.shared = t.inputLog != "" && t.inputLog == value
		t.inputLog = value
	case "COLUMNS", "LINES":
		n, err := parseSide(value)
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		if name == "COLUMNS" {
			t.header.Width = n
		} else {
			t.header.Height = n
		}
	}
	return nil
}

var scriptSize = regexp.MustCompile(`COLUMNS="(\d+)" LINES="(\d+)"\]$`)
var scriptTerm = regexp.MustCompile(` TERM="([^"]*)" TTY="`)
var scriptCommand = regexp.MustCompile(`\[COMMAND="(.*?)" (?:TERM="|<not executed)`)

// readHead reads the first line of the typescript, which the timing does not
// count.
func (t *Typescript) readHead() error {
	line, err := t.out.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read typescript: %w", err)
	}
	line = strings.TrimSuffix(line, "\n")
	if !strings.HasPrefix(line, scriptStarted) {
		return fmt.Errorf("read typescript: its first line does not begin with %q", scriptStarted)
	}
	when, _, _ := strings.Cut(strings.TrimPrefix(line, scriptStarted), " [")
	t.header.Start = parseScriptTime(when)
	if m := scriptSize.FindStringSubmatch(line); m != nil {
		w, h, err := ParseSize(m[1]+"x"+m[2], 'x')
		if err != nil {
			return fmt.Errorf("read typescript: %w", err)
		}
		t.header.Width, t.header.Height = w, h
	}
	if m := scriptTerm.FindStringSubmatch(line); m != nil {
		t.header.TermType = m[1]
	}
	if m := scriptCommand.FindStringSubmatch(line); m != nil {
		t.header.Command = m[1]
	}
	return nil
}

// parseScriptTime reads the date of newer and older versions of script. A date
// in another language is no date: the zero time.
func parseScriptTime(s string) time.Time {
	layouts := []string{
		"2006-01-02 15:04:05-07:00", "Mon 02 Jan 2006 03:04:05 PM MST", "Mon Jan _2 15:04:05 2006",
		"Mon 02 Jan 2006 15:04:05 MST", "Mon Jan _2 15:04:05 MST 2006",
	}
	for _, l := range layouts {
		if at, err := time.Parse(l, strings.TrimSpace(s)); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}
