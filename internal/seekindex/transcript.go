package seekindex

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A transcript gathers lines of text, each with its time: compressed lines of
// "milliseconds TAB text".
type transcript struct {
	packed  bytes.Buffer
	w       *flate.Writer
	text    int64 // bytes of lines taken
	cutAt   int64 // when it had become too long; 0 if it has not
	omitted int64

	second int64 // the budget is for this one
	spent  int64

	seed  maphash.Seed
	seen  map[uint64]bool // lines of whole screens
	order []uint64
}

const (
	// perSecond is how much of a second of the recording is taken: nobody reads
	// more, and a flood leaves room for what follows it.
	perSecond = 16 << 10
	// remembered is how many lines of whole screens are known not to be new.
	remembered = 4096
)

// add adds a line.
func (t *transcript) add(now int64, line string) {
	if line == "" || t.cutAt > 0 {
		return
	}
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "")
	}
	if t.second != now/1000 {
		t.second, t.spent = now/1000, 0
	}
	if t.spent += int64(len(line)); t.spent > perSecond {
		t.omitted++
		return
	}
	if t.text += int64(len(line)) + 12; t.text > maxTranscript {
		t.cutAt = max(now, 1)
		return
	}
	if t.w == nil {
		t.w, _ = flate.NewWriter(&t.packed, flate.BestSpeed) // the level is a good one
	}
	_, _ = fmt.Fprintf(t.w, "%d\t%s\n", now, line) // a Buffer takes everything
}

// addNew adds a line unless it was added so not long ago.
func (t *transcript) addNew(now int64, line string) {
	if utf8.RuneCountInString(line) < 2 {
		return
	}
	if t.seen == nil {
		t.seen, t.seed = map[uint64]bool{}, maphash.MakeSeed()
	}
	h := maphash.String(t.seed, line)
	if t.seen[h] {
		return
	}
	if len(t.order) == remembered {
		delete(t.seen, t.order[0])
		t.order = t.order[1:]
	}
	t.seen[h] = true
	t.order = append(t.order, h)
	t.add(now, line)
}

func (t *transcript) finish() []byte {
	if t.w == nil {
		return nil
	}
	_ = t.w.Close() // as above
	return t.packed.Bytes()
}

// A Line is a line of text that was on the screen.
type Line struct {
	TMS  int64  `json:"t_ms"`
	Text string `json:"text"`
}

// Transcript calls f with the lines of text that the terminal showed, in order,
// until f returns false. There are none of a desktop. See [Index.Omitted] for what
// is not in it.
func (x *Index) Transcript(ctx context.Context, f func(Line) bool) error {
	packed, err := x.script(ctx)
	if err != nil || len(packed) == 0 {
		return err
	}
	z := flate.NewReader(bytes.NewReader(packed))
	defer z.Close()
	lines := bufio.NewScanner(io.LimitReader(z, 2*maxTranscript))
	for lines.Scan() {
		at, text, ok := strings.Cut(lines.Text(), "\t")
		ms, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("read transcript of %s: %w: line %q", x.key, ErrCorrupt, clean(lines.Text()))
		}
		if !f(Line{ms, text}) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read transcript of %s: %w", x.key, err)
	}
	return nil
}

// script is the transcript as it is stored.
func (x *Index) script(ctx context.Context) ([]byte, error) {
	if x.header.transcript == 0 {
		return nil, nil
	}
	packed, err := x.checked(ctx, x.header.front()+x.header.pictures, x.header.transcript, x.header.transcriptCRC)
	if err != nil {
		return nil, fmt.Errorf("read transcript of %s: %w", x.key, err)
	}
	return packed, nil
}

// Search is the first lines of the transcript that have a text in them, whatever
// its case, limit at most.
func (x *Index) Search(ctx context.Context, text string, limit int) ([]Line, error) {
	var found []Line
	want := strings.ToLower(text)
	err := x.Transcript(ctx, func(l Line) bool {
		if strings.Contains(strings.ToLower(l.Text), want) {
			found = append(found, l)
		}
		return len(found) < limit
	})
	return found, err
}
