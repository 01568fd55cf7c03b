package accessrecv

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// Batches of 100 ended sessions, from as many senders as workers, each batch
// synced before it is acknowledged.
func BenchmarkPut(b *testing.B) {
	s, err := Create(b.Context(), filepath.Join(b.TempDir(), "access.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var next atomic.Int64
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := int(next.Add(1))
			batch := Batch{ID: fmt.Sprint(n), Hash: sha256.Sum256(nil)}
			for i := range 100 {
				r := rec(n*100+i, accesslog.KindEnd, 1)
				r.SessionID = fmt.Sprintf("%x", sha256.Sum256([]byte(r.SessionID)))[:16]
				batch.Records = append(batch.Records, r)
			}
			if err := s.Put(b.Context(), batch); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N*100)/b.Elapsed().Seconds(), "records/s")
}
