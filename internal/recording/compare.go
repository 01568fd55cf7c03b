package recording

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Diff is in what two recordings of a session differ. Events are the same if
// they mean the same: encoders differ in their bytes.
type Diff struct {
	Same    int64 // events that both have
	Other   int64 // indexes at which they have different events
	OnlyA   int64 // events that only the first has
	OnlyB   int64 // events that only the second has
	ListedA []slicefmt.Gap
	ListedB []slicefmt.Gap // the first maxListed runs of indexes of those
	Events  []Difference   // the first maxListed of Other

	// Trimmed is what the bus no longer holds: the indexes before the first event
	// of a recording that is read from the bus, of which the other has TrimmedEvents.
	// They are not in OnlyA or OnlyB.
	Trimmed       slicefmt.Gap
	TrimmedEvents int64
}

// maxListed bounds what a Diff lists; the rest is only counted.
const maxListed = 100

// A Difference is an index at which two recordings have different events.
type Difference struct {
	Index          int64
	TypeA          string
	TypeB          string
	BytesA, BytesB int
}

// Equal says whether the two have the same events, but for what was trimmed from
// the bus.
func (d Diff) Equal() bool { return d.Other == 0 && d.OnlyA == 0 && d.OnlyB == 0 }

// Compare compares two recordings event for event, by index. An error of reading
// either ends it; the Diff is then of what was read before.
func Compare(ctx context.Context, a, b *Recording) (Diff, error) {
	var d Diff
	nextA, stopA := pull(ctx, a)
	defer stopA()
	nextB, stopB := pull(ctx, b)
	defer stopB()
	recA, recB := nextA(), nextB()
	for {
		if recA.err != nil || recB.err != nil {
			return d, firstError(a, recA.err, b, recB.err)
		}
		switch {
		case recA.end && recB.end:
			return d, nil
		case recB.end || !recA.end && recA.Index < recB.Index:
			d.onlyA(recA.Index, b)
			recA = nextA()
		case recA.end || recB.Index < recA.Index:
			d.onlyB(recB.Index, a)
			recB = nextB()
		default:
			d.both(recA.Record, recB.Record)
			recA, recB = nextA(), nextB()
		}
	}
}

func firstError(a *Recording, errA error, b *Recording, errB error) error {
	if errA != nil {
		return fmt.Errorf("compare %s: %w", a.name, errA)
	}
	return fmt.Errorf("compare %s: %w", b.name, errB)
}

type pulled struct {
	slicefmt.Record
	end bool
	err error
}

// pull makes the records of r ones to ask for. Each is valid until the next.
func pull(ctx context.Context, r *Recording) (next func() pulled, stop func()) {
	one, stop := iter.Pull2(r.Records(ctx, Range{}))
	return func() pulled {
		rec, err, ok := one()
		return pulled{Record: rec, end: !ok, err: err}
	}, stop
}

// gone says whether an event that a recording lacks was trimmed from the bus.
func (d *Diff) gone(index int64, r *Recording) bool {
	if r.bus == nil || r.bus.info.First >= 0 && index > r.bus.info.First {
		return false
	}
	d.TrimmedEvents++
	d.Trimmed.To = index + 1
	if r.bus.info.First >= 0 {
		d.Trimmed = r.BusInfo().Trimmed()
	}
	return true
}

func (d *Diff) onlyA(index int64, b *Recording) {
	if d.gone(index, b) {
		return
	}
	d.OnlyA++
	d.ListedA = extend(d.ListedA, index)
}

func (d *Diff) onlyB(index int64, a *Recording) {
	if d.gone(index, a) {
		return
	}
	d.OnlyB++
	d.ListedB = extend(d.ListedB, index)
}

// extend adds an index to the last run or begins another.
func extend(runs []slicefmt.Gap, index int64) []slicefmt.Gap {
	if n := len(runs); n > 0 && runs[n-1].To == index {
		runs[n-1].To++
		return runs
	}
	if len(runs) == maxListed {
		return runs
	}
	return append(runs, slicefmt.Gap{From: index, To: index + 1})
}

func (d *Diff) both(a, b slicefmt.Record) {
	if sameEvent(a.OneOf, b.OneOf) {
		d.Same++
		return
	}
	if d.Other++; len(d.Events) < maxListed {
		d.Events = append(d.Events, Difference{
			Index: a.Index, TypeA: string(a.Type), TypeB: string(b.Type), BytesA: len(a.OneOf), BytesB: len(b.OneOf),
		})
	}
}

func sameEvent(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errA := canonical(a)
	y, errB := canonical(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// canonical is an event as this program encodes it.
func canonical(oneof []byte) ([]byte, error) {
	o, err := events.Unmarshal(oneof)
	if err != nil {
		return nil, err
	}
	return events.Marshal(o)
}
