package accesslog

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

const perMessage = 200

// messages are payloads of perMessage ends each, all different.
func messages(b *testing.B, n int) [][]byte {
	var out [][]byte
	for i := range n {
		recs := make([]accesslog.Record, perMessage)
		for j := range recs {
			recs[j] = makeRecord(i*perMessage+j, accesslog.KindEnd)
			recs[j].SessionID = strconv.FormatUint(0x9e3779b97f4a7c15*uint64(i*perMessage+j+1), 16)
		}
		p, err := accesslog.MarshalRecords(recs)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func (w *world) publishAll(payloads [][]byte, every time.Duration) {
	start := time.Now()
	for i, p := range payloads {
		if every > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * every)))
		}
		if _, err := w.conn.JetStream().PublishMsgAsync(&nats.Msg{Subject: bus.AccessSubject("db"), Data: p}, jetstream.WithStallWait(5*time.Second)); err != nil {
			w.t.Fatal(err)
		}
	}
	<-w.conn.JetStream().PublishAsyncComplete()
}

// BenchmarkBacklog is how fast a lane takes what is there: records of b.N
// messages, from the bus to objects in S3. Server and gateway are in the process.
func BenchmarkBacklog(b *testing.B) {
	for _, sink := range []string{"s3", "parquet"} {
		b.Run(sink, func(b *testing.B) {
			w, store := newWorld(b), openStore(b)
			w.publishAll(messages(b, b.N), 0)
			b.ResetTimer()
			w.start(testConfig(sink), Deps{Store: store})
			eventually(b, func() bool { return w.acked(sink) })
			b.ReportMetric(float64(b.N*perMessage)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkTwentyThousandASecond publishes 20,000 ends a second for 12 s in front
// of a lane to S3 with batches of 100, and fails if the lane falls behind. The
// heap of all of it, server and gateway too, is looked at after the first third
// and at the end, garbage collected.
func BenchmarkTwentyThousandASecond(b *testing.B) {
	const rate, seconds = 20_000, 12
	for b.Loop() {
		w, store := newWorld(b), openStore(b)
		second := messages(b, rate/perMessage)
		w.start(testConfig("s3"), Deps{Store: store})
		cpu := cpuTime(b)
		var heap []uint64
		for i := range seconds {
			w.publishAll(second, time.Second*perMessage/rate)
			if i%4 == 3 {
				heap = append(heap, heapInUse())
			}
		}
		end := time.Now()
		eventually(b, func() bool { return w.acked("s3") })
		behind := time.Since(end)
		if behind > 2*time.Second {
			b.Errorf("the lane is %s behind", behind)
		}
		cores := (cpuTime(b) - cpu).Seconds() / seconds
		b.Logf("%s behind; %.2f cores, publishers, server and gateway included; heap %d", behind, cores, heap)
		b.ReportMetric(behind.Seconds(), "s-behind")
		b.ReportMetric(cores, "cores")
		b.ReportMetric(float64(heap[0])/1e6, "MB-third")
		b.ReportMetric(float64(heap[len(heap)-1])/1e6, "MB-end")
		got := 0
		for _, z := range objects(b, store, "access/") {
			recs, err := accesslog.InflateBatch(z, accesslog.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			got += len(recs)
		}
		if got != rate*seconds {
			b.Errorf("%d records in S3, want %d", got, rate*seconds)
		}
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
