package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Snapshot is the installation at one moment. Rates are per second, over the time
// since the snapshot before; -1 in the first.
type Snapshot struct {
	At         time.Time   `json:"at"`
	Server     string      `json:"server"` // and its version
	RoundTrip  float64     `json:"round_trip_seconds"`
	Problems   []string    `json:"problems"` // what could not be read, and what services say is wrong
	Partitions []Partition `json:"partitions"`
	Streams    []Stream    `json:"streams"`
	Services   []Service   `json:"services"`
	Totals     Totals      `json:"totals"`
}

// A Partition is one partition of EVENTS and its owner.
type Partition struct {
	Partition  int       `json:"partition"`
	Owner      string    `json:"owner"` // empty: nobody
	Fence      uint64    `json:"fence"`
	Since      time.Time `json:"since"` // of the lease
	Cursor     uint64    `json:"cursor"`
	Moved      time.Time `json:"cursor_moved"`
	Last       uint64    `json:"last"`
	Unarchived uint64    `json:"unarchived_messages"`
	In         float64   `json:"in_messages_per_second"`
	Out        float64   `json:"archived_messages_per_second"`

	// From the owner's metrics; -1 if they are not read.
	LagEvents  float64 `json:"lag_events"`
	LagBytes   float64 `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
	Age        float64 `json:"oldest_unarchived_seconds"`
}

// A Stream is how full a stream is.
type Stream struct {
	Name     string  `json:"name"`
	Messages uint64  `json:"messages"`
	Bytes    uint64  `json:"bytes"`
	Max      int64   `json:"max_bytes"`
	Free     int64   `json:"free_bytes"`
	Growth   float64 `json:"bytes_per_second"`
	Subjects uint64  `json:"subjects"` // of an EVENTS stream: sessions that the bus still has
	Replicas int     `json:"replicas"`
	Behind   int     `json:"replicas_behind"`
}

// A Collector takes snapshots. It belongs to one goroutine.
type Collector struct {
	Conn   *bus.Conn
	Layout bus.Layout
	Scrape []string // HOST:PORT of listeners for metrics

	before *Snapshot
}

// collectTimeout bounds one snapshot: what has not answered by then is told of as a
// problem.
const collectTimeout = 5 * time.Second

// Collect takes a snapshot. It fails only when ctx is done.
func (c *Collector) Collect(ctx context.Context) (*Snapshot, error) {
	within, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	s := &Snapshot{At: time.Now(), Problems: []string{}, Partitions: make([]Partition, c.Layout.Partitions), Services: make([]Service, len(c.Scrape))}
	nc := c.Conn.NATS()
	s.Server = fmt.Sprintf("%s (nats-server %s)", nc.ConnectedAddr(), nc.ConnectedServerVersion())
	var mu sync.Mutex
	var wg sync.WaitGroup
	problem := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		s.Problems = append(s.Problems, err.Error())
	}
	if rtt, err := nc.RTT(); err != nil {
		problem(fmt.Errorf("bus: %w", err))
	} else {
		s.RoundTrip = rtt.Seconds()
	}
	for i := range c.Scrape {
		wg.Go(func() { s.Services[i] = scrape(within, c.Scrape[i]) })
	}
	wg.Go(func() { s.Streams = c.streams(within, problem) })
	for p := range s.Partitions {
		wg.Go(func() { s.Partitions[p] = c.partition(within, p, problem) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.finish(c.before)
	c.before = s
	return s, nil
}

func (c *Collector) streams(ctx context.Context, problem func(error)) []Stream {
	var all []Stream
	for _, name := range c.Layout.Streams() {
		js, err := c.Conn.JetStream().Stream(ctx, name)
		if err != nil {
			problem(fmt.Errorf("stream %s: %w", name, err))
			continue
		}
		info := js.CachedInfo()
		s := Stream{Name: name, Messages: info.State.Msgs, Bytes: info.State.Bytes, Max: info.Config.MaxBytes,
			Free: max(0, info.Config.MaxBytes-int64(info.State.Bytes)), Growth: -1, Subjects: info.State.NumSubjects, Replicas: info.Config.Replicas}
		if info.Cluster != nil {
			for _, r := range info.Cluster.Replicas {
				if r.Offline || !r.Current {
					s.Behind++
				}
			}
		}
		all = append(all, s)
	}
	return all
}

func (c *Collector) partition(ctx context.Context, p int, problem func(error)) Partition {
	x := Partition{Partition: p, In: -1, Out: -1, LagEvents: -1, LagBytes: -1, LagSeconds: -1, Age: -1}
	lease, err := uploadlog.ReadLease(ctx, c.Conn, p)
	if err != nil {
		problem(fmt.Errorf("partition %d: %w", p, err))
		return x
	}
	x.Owner, x.Fence, x.Since = lease.Owner, lease.Seq, lease.Stored
	cursor, _, err := uploadlog.ReadCursor(ctx, c.Conn, p)
	if err != nil && !errors.Is(err, uploadlog.ErrNotFound) {
		problem(fmt.Errorf("partition %d: %w", p, err))
		return x
	}
	x.Cursor, x.Moved = cursor.Seq, cursor.At
	js, err := c.Conn.JetStream().Stream(ctx, bus.EventStream(p))
	if err != nil {
		return x // told of with the streams
	}
	x.Last = js.CachedInfo().State.LastSeq
	x.Unarchived = x.Last - min(x.Cursor, x.Last)
	return x
}

// finish adds up what the services say, and what has changed since before.
func (s *Snapshot) finish(before *Snapshot) {
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if p.Owner == "" {
			s.Problems = append(s.Problems, fmt.Sprintf("partition %d: nobody slices it", p.Partition))
		}
		s.fromMetrics(p)
	}
	for _, x := range s.Services {
		if x.Error != "" {
			s.Problems = append(s.Problems, x.Addr+": "+x.Error)
		}
		for _, c := range x.Problems {
			s.Problems = append(s.Problems, x.Addr+": "+c)
		}
	}
	for _, x := range s.Streams {
		if x.Behind > 0 {
			s.Problems = append(s.Problems, fmt.Sprintf("stream %s: %d of %d replicas are behind", x.Name, x.Behind, x.Replicas))
		}
	}
	slices.Sort(s.Problems)
	s.total(before)
	if before == nil {
		return
	}
	dt := max(s.At.Sub(before.At).Seconds(), 0.001)
	for i := range s.Partitions {
		if i < len(before.Partitions) && s.Partitions[i].Last >= before.Partitions[i].Last && before.Partitions[i].Last > 0 {
			s.Partitions[i].In = float64(s.Partitions[i].Last-before.Partitions[i].Last) / dt
			s.Partitions[i].Out = max(0, float64(s.Partitions[i].Cursor)-float64(before.Partitions[i].Cursor)) / dt
		}
	}
	for i := range s.Streams {
		for _, b := range before.Streams {
			if b.Name == s.Streams[i].Name {
				s.Streams[i].Growth = (float64(s.Streams[i].Bytes) - float64(b.Bytes)) / dt
			}
		}
	}
}
