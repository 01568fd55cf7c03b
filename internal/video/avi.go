package video

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"io"
)

// AVI writes a recording as a film of motion JPEG, which needs no program beside
// this one. A film over 2 GiB does not fit and fails with [ErrTooLong]; w then has
// no film.
func AVI(ctx context.Context, w io.WriteSeeker, open Open, o Options) error {
	return film(ctx, open, o, &aviWriter{w: w, rate: o.Rate, most: cmp.Or(o.MaxBytes, maxAVI)})
}

// An aviWriter writes chunks as frames come, and at the end the index and the
// lengths, which stand at the beginning.
type aviWriter struct {
	w      io.WriteSeeker
	rate   int
	most   int64 // bytes of the film
	size   image.Point
	at     int64 // bytes written
	frames int64
	index  bytes.Buffer
	jpeg   bytes.Buffer
}

const (
	aviHeader = 224 // bytes before the first frame
	maxAVI    = 2<<30 - 1<<20
	keyFrame  = 0x10
)

func (a *aviWriter) begin(size image.Point) error {
	a.size = size
	return a.write(make([]byte, aviHeader)) // filled in at the end
}

func (a *aviWriter) write(b []byte) error {
	n, err := a.w.Write(b)
	a.at += int64(n)
	return err
}

func (a *aviWriter) frame(img *image.RGBA, changed image.Rectangle, n int64) error {
	if !changed.Empty() {
		a.jpeg.Reset()
		if err := jpeg.Encode(&a.jpeg, img, &jpeg.Options{Quality: 92}); err != nil {
			return fmt.Errorf("encode frame: %w", err)
		}
		if err := a.chunk(a.jpeg.Bytes(), keyFrame); err != nil {
			return err
		}
		n--
	}
	for range n { // an empty chunk shows the frame before
		if err := a.chunk(nil, 0); err != nil {
			return err
		}
	}
	return nil
}

func (a *aviWriter) chunk(b []byte, flags uint32) error {
	if total := a.at + int64(len(b)+a.index.Len()); total > a.most && a.most < maxAVI {
		return fmt.Errorf("%w: %d bytes are full after %d frames", ErrTooLong, a.most, a.frames)
	} else if total > maxAVI {
		return fmt.Errorf("%w: an AVI holds 2 GiB, which are full after %d frames; ffmpeg, when it is installed, makes an MP4", ErrTooLong, a.frames)
	}
	entry := append([]byte("00dc"), le32(flags, uint32(a.at-aviHeader+4), uint32(len(b)))...)
	a.index.Write(entry)
	a.frames++
	head := append([]byte("00dc"), le32(uint32(len(b)))...)
	if err := a.write(head); err != nil {
		return err
	}
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return a.write(b)
}

func (a *aviWriter) end() error {
	movi := a.at - aviHeader + 4
	if err := a.write(append([]byte("idx1"), le32(uint32(a.index.Len()))...)); err != nil {
		return err
	}
	if err := a.write(a.index.Bytes()); err != nil {
		return err
	}
	total := a.at
	if _, err := a.w.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := a.write(a.header(total, movi)); err != nil {
		return err
	}
	_, err := a.w.Seek(0, io.SeekEnd)
	return err
}

func (a *aviWriter) header(total, movi int64) []byte {
	w, h := uint32(a.size.X), uint32(a.size.Y)
	b := append([]byte("RIFF"), le32(uint32(total-8))...)
	b = append(b, "AVI LIST"...)
	b = append(b, le32(192)...)
	b = append(b, "hdrlavih"...)
	// frame time, bytes a second, padding, flags (has an index), frames, initial
	// frames, streams, buffer, size
	b = append(b, le32(56, uint32(1_000_000/a.rate), 0, 0, 0x10, uint32(a.frames), 0, 1, 1<<20, w, h, 0, 0, 0, 0)...)
	b = append(b, "LIST"...)
	b = append(b, le32(116)...)
	b = append(b, "strlstrh"...)
	b = append(b, le32(56)...)
	b = append(b, "vidsMJPG"...)
	b = append(b, le32(0, 0, 0, 1, uint32(a.rate), 0, uint32(a.frames), 1<<20, 0xffffffff, 0)...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(w))
	b = binary.LittleEndian.AppendUint16(b, uint16(h))
	b = append(b, "strf"...)
	b = append(b, le32(40, 40, w, h, 24<<16|1)...)
	b = append(b, "MJPG"...)
	b = append(b, le32(w*h*3, 0, 0, 0, 0)...)
	b = append(b, "LIST"...)
	b = append(b, le32(uint32(movi))...)
	return append(b, "movi"...)
}

func le32(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
