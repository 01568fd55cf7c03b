package bus_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// typing lets people type in n sessions, a key every four seconds each, for d,
// and measures how long a key takes from the keyboard to the acknowledgement.
type typing struct {
	keys     int
	late     int // keys that met the key before them still on its way
	waiting  int // keys not acknowledged when the typing ended
	p50, p99 time.Duration
	cpu      float64 // cores that client and server took together
	batched  float64 // share of messages
}

const betweenKeys = 4 * time.Second

func (s *site) typing(t testing.TB, p *bus.Publisher, n int, d time.Duration) typing {
	t.Helper()
	streams := make([]*bus.Stream, n)
	next := make([]int64, n)
	for i := range streams {
		streams[i] = open(t, p, "node", fmt.Sprintf("t%d", i))
	}
	// One goroutine types, another looks what has been acknowledged: a goroutine a
	// session would measure itself.
	type key struct {
		session int
		index   int64
		at      time.Time
	}
	keys := make(chan key, 1<<20)
	var took []time.Duration
	var r typing
	var done atomic.Bool
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		var open []key
		for {
			for more := true; more; {
				select {
				case k := <-keys:
					open = append(open, k)
				default:
					more = false
				}
			}
			now := time.Now()
			open = slices.DeleteFunc(open, func(k key) bool {
				stored := streams[k.session].Stored() > k.index
				if stored {
					took = append(took, now.Sub(k.at))
				}
				return stored
			})
			if done.Load() && len(keys) == 0 {
				for _, k := range open { // at least that long
					took = append(took, now.Sub(k.at))
				}
				r.waiting = len(open)
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	before, from, stats := cpuTime(t), time.Now(), p.Stats()
	every := betweenKeys / time.Duration(n)
	for time.Since(from) < d {
		due := int(time.Since(from) / every)
		for ; r.keys < due; r.keys++ {
			i := rand.IntN(n)
			if streams[i].Stored() < next[i] {
				r.late++
			}
			at := time.Now()
			appendEvents(t, streams[i], next[i], next[i]+1)
			keys <- key{i, next[i], at}
			next[i]++
		}
		time.Sleep(time.Millisecond)
	}
	r.cpu = (cpuTime(t) - before).Seconds() / time.Since(from).Seconds()
	done.Store(true)
	<-watched
	after := p.Stats()
	r.batched = float64(after.Batched-stats.Batched) / float64(max(1, after.Stored-stats.Stored))
	slices.Sort(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	return r
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (r typing) String() string {
	return fmt.Sprintf("%d keys, acknowledged after %s (median), %s (99 %%), %.2f cores, %.0f %% in batches, %d keys met the one before, %d not acknowledged in the end",
		r.keys, r.p50.Round(100*time.Microsecond), r.p99.Round(100*time.Microsecond), r.cpu, 100*r.batched, r.late, r.waiting)
}

func TestSessionsTypeOnANodeThatSyncsEveryWrite(t *testing.T) {
	s := syncedSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{AckTimeout: 10 * time.Second})
	r := s.typing(t, p, 4000, 2*time.Second)
	t.Log(r)
	stored := 0
	eventually(t, "every key is stored", func() bool {
		stored = int(p.Stats().Stored)
		ms, err := s.messages(t, 0)
		n := 0
		for _, m := range ms {
			n += len(indexesOf(t, m))
		}
		return err == nil && n == r.keys
	})
	t.Logf("%d messages", stored)
}

// 20,000 sessions on one node that syncs every write, first with each message by
// itself and then in batches; 20 s each, whatever b.N is.
func BenchmarkTyping(b *testing.B) {
	const sessions = 20_000
	for _, v := range []struct {
		name     string
		maxBatch int
	}{{"alone", 1}, {"batches", 0}} {
		b.Run(v.name, func(b *testing.B) {
			l := small(1)
			l.EventsMaxBytes = 1 << 30
			s := syncedSite(b, l)
			p := s.publisher(b, s.conn, bus.PublisherOptions{AckTimeout: 20 * time.Second, MaxBatch: v.maxBatch})
			r := s.typing(b, p, sessions, 20*time.Second)
			b.Log(r)
			b.ReportMetric(float64(r.p50.Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(r.p99.Microseconds())/1000, "ms-p99")
			b.ReportMetric(r.cpu, "cores")
			b.ReportMetric(0, "ns/op")
		})
	}
}
