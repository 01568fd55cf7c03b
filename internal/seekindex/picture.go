package seekindex

import (
	"hash/crc32"

	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// due says whether there should be a picture behind the record that was taken.
func (b *builder) due(part int) bool {
	if !b.shows || b.since == 0 {
		return false
	}
	if len(b.dir) == 0 {
		return b.survey.Kind == "desktop" || b.term.Settled()
	}
	passed := b.survey.now - b.lastAt
	if b.survey.Kind == "desktop" {
		// Pictures are large: together they are a part of what the frames are.
		enough := max(desktopBytes, 4*b.lastSize)
		return b.since >= enough || passed >= b.every && b.since >= enough/4 || part != b.lastPart && b.since >= b.lastSize
	}
	return b.term.Settled() && (b.since >= b.spacing || passed >= b.every && b.since >= slowBytes || part != b.lastPart)
}

// picture puts one behind record r.
func (b *builder) picture(r slicefmt.Record) error {
	data, err := b.draw()
	if err != nil {
		return err
	}
	if data == nil { // it is too large for a reader: the next try is as far off as any
		b.since = 0
		return nil
	}
	if _, err := b.out.Write(data); err != nil {
		return err
	}
	clock := b.dec.Clock()
	e := entry{offset: b.spooled, bytes: int64(len(data)), tms: b.survey.now, index: r.Index, last: clock.Last, crc: crc32.ChecksumIEEE(data),
		desktop: b.survey.Kind == "desktop"}
	e.cols, e.rows = b.size()
	if clock.Begun {
		e.lastAt = clock.LastAt.UnixNano()
	}
	b.dir = append(b.dir, e)
	b.spooled += e.bytes
	b.since, b.lastAt, b.lastPart, b.lastSize = 0, e.tms, r.Part, e.bytes
	if len(b.dir) == maxKeyframes {
		b.thin()
	}
	return nil
}

// draw is the picture as it is stored; nil if a reader would not take it.
func (b *builder) draw() ([]byte, error) {
	if b.survey.Kind != "desktop" {
		return packPicture(b.term.Redraw()), nil
	}
	picture, err := b.desktop.PNG()
	if err != nil || len(picture) > maxPicture {
		return nil, err
	}
	return picture, nil
}

func (b *builder) size() (int, int) {
	if b.survey.Kind == "desktop" {
		return b.desktop.Size()
	}
	return b.term.Size()
}

// thin keeps every second picture, and makes them half as often from now on.
func (b *builder) thin() {
	kept := b.dir[:0]
	for i, e := range b.dir {
		if i%2 == 0 {
			kept = append(kept, e)
		}
	}
	b.dir = kept
	b.spacing *= 2
	b.every *= 2
}
