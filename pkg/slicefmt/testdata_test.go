package slicefmt

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// oneof is an event as bytes.
func oneof(t testing.TB, e events.Event) []byte {
	t.Helper()
	o, err := events.Wrap(e)
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func metadata(index int64, typ string) *events.Metadata {
	return &events.Metadata{Index: index, Type: typ, ClusterName: "local", Time: timestamppb.New(epoch.Add(time.Duration(index) * time.Second))}
}

// print is the print event of an index, one second after the one before.
func printEvent(t testing.TB, index int64, data []byte) []byte {
	return oneof(t, &events.SessionPrint{
		Metadata: metadata(index, "print"), ChunkIndex: index, Data: data, Bytes: int64(len(data)), DelayMilliseconds: index * 1000,
	})
}

// prints are the prints of indexes from up to but without to.
func prints(t testing.TB, from, to int64) [][]byte {
	var records [][]byte
	for i := from; i < to; i++ {
		records = append(records, printEvent(t, i, fmt.Appendf(nil, "line %d\r\n", i)))
	}
	return records
}

// unknownEvent is an event of a case that is in no protocol.
func unknownEvent(index int64) []byte {
	var meta, event []byte
	meta = protowire.AppendVarint(protowire.AppendTag(meta, 1, protowire.VarintType), uint64(index))
	meta = protowire.AppendBytes(protowire.AppendTag(meta, 2, protowire.BytesType), []byte("from.the.future"))
	event = protowire.AppendBytes(protowire.AppendTag(event, 1, protowire.BytesType), meta)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1234, protowire.BytesType), event)
}

func frames(records ...[]byte) []byte {
	var b []byte
	for _, r := range records {
		b = AppendFrame(b, r)
	}
	return b
}

// member is raw as another writer would compress it.
func member(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// foreign is a part as another writer would lay it out.
func foreign(version int, flags byte, body []byte, padding int) []byte {
	var b []byte
	for _, v := range []int{version, len(body), padding} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	if version == Version2 {
		b = append(b, flags, 0, 0, 0, 0, 0, 0, 0)
	}
	return append(append(b, body...), make([]byte, padding)...)
}

// ours is a part made by a Slice.
func ours(t testing.TB, records ...[]byte) []byte {
	t.Helper()
	var s Slice
	appendAll(t, &s, records)
	part, _ := finish(t, &s, nil)
	return part
}

// smallRecording has a part of ours, one of a writer that pads, one of version 2
// and one without a body: events 0 to 11.
func smallRecording(t testing.TB) []byte {
	p := prints(t, 0, 12)
	return bytes.Join([][]byte{
		ours(t, p[:4]...),
		foreign(Version1, 0, member(t, frames(p[4:8]...)), 13),
		foreign(Version1, 0, nil, 9),
		foreign(Version2, 0, member(t, frames(p[8:]...)), 0),
	}, nil)
}

// drain reads to the end and returns copies of the records.
func drain(r *Reader) ([]Record, error) {
	var all []Record
	for {
		rec, err := r.Next()
		if isEOF(err) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		rec.OneOf = bytes.Clone(rec.OneOf)
		rec.Type = bytes.Clone(rec.Type)
		all = append(all, rec)
	}
}

func indexes(records []Record) []int64 {
	is := []int64{}
	for _, r := range records {
		is = append(is, r.Index)
	}
	return is
}
