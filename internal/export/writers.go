package export

import (
	"bufio"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func newBuffer(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 64<<10) }

// castWriter writes the header when the first event comes: by then the size is
// known if it ever will be.
type castWriter struct {
	w       io.Writer
	version int
	dec     cast.Decoder
	out     *cast.Writer
}

func (c *castWriter) write(rec slicefmt.Record) error {
	e, ok, err := c.dec.Decode(rec)
	if err != nil || !ok {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	return c.out.Write(e)
}

func (c *castWriter) begin() (err error) {
	if c.out == nil {
		h := c.dec.Header()
		h.Version = c.version
		c.out, err = cast.NewWriter(c.w, h)
	}
	return err
}

func (c *castWriter) close(sum *Summary) error {
	if err := c.begin(); err != nil {
		return err
	}
	err := c.out.Close()
	sum.Replaced, sum.Resizes = c.out.Replaced(), c.dec.BadResizes()
	return err
}

type textWriter struct {
	w   *bufio.Writer
	dec cast.Decoder
}

func (t *textWriter) write(rec slicefmt.Record) error {
	e, _, err := t.dec.Decode(rec)
	if err == nil && e.Code == cast.Output {
		_, err = t.w.Write(e.Data)
	}
	return err
}

func (t *textWriter) close(*Summary) error { return t.w.Flush() }

type jsonWriter struct {
	w    *bufio.Writer
	opts events.JSONOptions
}

func (j *jsonWriter) write(rec slicefmt.Record) error {
	line, err := events.MarshalJSON(rec.OneOf, j.opts)
	if err != nil {
		return fmt.Errorf("event %d: %w", rec.Index, err)
	}
	_, err = j.w.Write(append(line, '\n'))
	return err
}

func (j *jsonWriter) close(*Summary) error { return j.w.Flush() }

// partWriter writes parts of the least size that S3 takes.
type partWriter struct {
	w io.Writer
	s slicefmt.Slice
}

func (p *partWriter) write(rec slicefmt.Record) error {
	if err := p.s.Append(rec.OneOf); err != nil {
		return fmt.Errorf("event %d: %w", rec.Index, err)
	}
	if p.s.BlockBytes() < slicefmt.MinPartSize {
		return nil
	}
	return p.finish()
}

func (p *partWriter) finish() error {
	part, _, err := p.s.Finish(nil)
	if err != nil {
		return err
	}
	_, err = p.w.Write(part)
	slicefmt.Recycle(part)
	return err
}

func (p *partWriter) close(*Summary) error {
	defer p.s.Reset()
	if p.s.Records() == 0 {
		return nil
	}
	return p.finish()
}
