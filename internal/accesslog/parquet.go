package accesslog

import (
	"bytes"
	"fmt"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A Row is a record in a Parquet file: the same members, times in microseconds,
// UTC. What a record does not say is null.
type Row struct {
	SessionID       string    `parquet:"sessionId,zstd"`
	ResourceID      int64     `parquet:"resourceId,zstd"`
	SourceAddr      string    `parquet:"sourceAddr,zstd"`
	DestAddr        string    `parquet:"destAddr,dict,zstd"`
	Protocol        string    `parquet:"protocol,dict,zstd"`
	StartedAt       time.Time `parquet:"startedAt,timestamp(microsecond),zstd"`
	EndedAt         time.Time `parquet:"endedAt,optional,timestamp(microsecond),zstd"`
	BytesTx         int64     `parquet:"bytesTx,zstd"`
	BytesRx         int64     `parquet:"bytesRx,zstd"`
	ConnectionCount int64     `parquet:"connectionCount,zstd"` // at least 1
	Kind            string    `parquet:"kind,optional,dict,zstd"`
	Reason          string    `parquet:"reason,optional,dict,zstd"`
	User            string    `parquet:"user,optional,dict,zstd"`
	Node            string    `parquet:"node,optional,dict,zstd"`
	Seq             int64     `parquet:"seq,zstd"`
}

func rowOf(r *accesslog.Record) Row {
	return Row{
		SessionID: r.SessionID, ResourceID: r.ResourceID, SourceAddr: r.SourceAddr, DestAddr: r.DestAddr, Protocol: r.Protocol,
		StartedAt: r.StartedAt.UTC(), EndedAt: r.EndedAt.UTC(), BytesTx: r.BytesTx, BytesRx: r.BytesRx,
		ConnectionCount: r.Connections(), Kind: string(r.Kind), Reason: string(r.Reason), User: r.User, Node: r.Node, Seq: r.Seq,
	}
}

const (
	rowGroup = 50_000 // rows; what is not in a group yet is held uncompressed
	// maxParquetRecords bounds what the bus keeps unacknowledged for one file.
	maxParquetRecords = 2_000_000
	// rowBytes is about what a row takes in the file before it is known.
	rowBytes = 64
)

// parquetBuilder makes a Parquet file. Its row groups are compressed as they
// fill, so it holds little more than the file.
type parquetBuilder struct {
	bytes int64 // limit, roughly
	buf   bytes.Buffer
	w     *parquet.GenericWriter[Row]
	n     int
	group int // rows in the group that is open
}

func newParquetBuilder(limit int64) *parquetBuilder {
	b := &parquetBuilder{bytes: limit}
	b.w = parquet.NewGenericWriter[Row](&b.buf, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}),
		parquet.CreatedBy("tapedeck", "1", "0")) // no build in it: the same records give the same bytes
	return b
}

func (b *parquetBuilder) full(*item) bool {
	return b.n > 0 && (b.n >= maxParquetRecords || int64(b.buf.Len())+int64(b.group)*rowBytes >= b.bytes)
}

func (b *parquetBuilder) add(it *item) error {
	if _, err := b.w.Write([]Row{rowOf(&it.rec)}); err != nil {
		return fmt.Errorf("write Parquet row %d: %w", b.n, err)
	}
	b.n++
	if b.group++; b.group < rowGroup {
		return nil
	}
	b.group = 0
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("write Parquet row group at row %d: %w", b.n, err)
	}
	return nil
}

func (b *parquetBuilder) count() int { return b.n }

func (b *parquetBuilder) finish() ([]byte, error) {
	err := b.w.Close()
	body := bytes.Clone(b.buf.Bytes())
	n := b.n
	b.buf.Reset()
	b.w.Reset(&b.buf)
	b.n, b.group = 0, 0
	if err != nil {
		return nil, fmt.Errorf("close Parquet file of %d rows: %w", n, err)
	}
	return body, nil
}
