package telemetry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// streamsEvery is how often the streams are asked how full they are.
const streamsEvery = 10 * time.Second

// instruments makes observable instruments and keeps the first error.
type instruments struct {
	m    metric.Meter
	all  []metric.Observable
	errs []error
}

func (x *instruments) gauge(name, unit, help string) metric.Int64ObservableGauge {
	g, err := x.m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	x.all, x.errs = append(x.all, g), append(x.errs, err)
	return g
}

func (x *instruments) counter(name, unit, help string) metric.Int64ObservableCounter {
	c, err := x.m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	x.all, x.errs = append(x.all, c), append(x.errs, err)
	return c
}

func (x *instruments) observe(f metric.Callback) error {
	if err := errors.Join(x.errs...); err != nil {
		return fmt.Errorf("create instruments: %w", err)
	}
	_, err := x.m.RegisterCallback(f, x.all...)
	return err
}

// Installation measures what the services of an installation share: the connection,
// the requests to the store (nil: there is none), and how full the streams are.
// Nothing is asked unless somebody is told of it. It ends with Stop.
func (t *Telemetry) Installation(conn *bus.Conn, l bus.Layout, store *s3store.Store) error {
	x := &instruments{m: t.Meter}
	up := x.gauge("tapedeck_nats_connected", "", "1 while connected to NATS.")
	again := x.counter("tapedeck_nats_reconnects_total", "", "Connections to NATS that were made anew.")
	requests := x.counter("tapedeck_s3_requests_total", "", "Requests to the store, each try counted.")
	failed := x.counter("tapedeck_s3_failed_total", "", "Requests to the store without an answer or with a status of 400 or more.")
	sent := x.counter("tapedeck_s3_uploaded_bytes_total", "By", "Bytes sent to the store.")
	got := x.counter("tapedeck_s3_downloaded_bytes_total", "By", "Bytes read from the store.")
	err := x.observe(func(_ context.Context, o metric.Observer) error {
		nc := conn.NATS()
		o.ObserveInt64(up, one(nc.IsConnected()))
		o.ObserveInt64(again, int64(nc.Stats().Reconnects))
		if store != nil {
			s := store.Stats()
			o.ObserveInt64(requests, s.Requests)
			o.ObserveInt64(failed, s.Failed)
			o.ObserveInt64(sent, s.Uploaded)
			o.ObserveInt64(got, s.Downloaded)
		}
		return nil
	})
	if err != nil || !t.measuring {
		return err
	}
	return t.streams(conn, l)
}

// fill is how full the streams were when they were asked last.
type fill struct {
	mu sync.Mutex
	m  map[string]*jetstream.StreamInfo
}

// streams measures the streams' room until Stop.
func (t *Telemetry) streams(conn *bus.Conn, l bus.Layout) error {
	f := &fill{m: map[string]*jetstream.StreamInfo{}}
	x := &instruments{m: t.Meter}
	used := x.gauge("tapedeck_stream_bytes", "By", "Bytes in a stream.")
	room := x.gauge("tapedeck_stream_max_bytes", "By", "Bytes that a stream may hold.")
	free := x.gauge("tapedeck_stream_free_bytes", "By", "Bytes that a stream may still take; producers wait when an EVENTS stream has none.")
	messages := x.gauge("tapedeck_stream_messages", "", "Messages in a stream.")
	behind := x.gauge("tapedeck_stream_replicas_behind", "", "Replicas of a stream that are offline or not current.")
	err := x.observe(func(_ context.Context, o metric.Observer) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for name, info := range f.m {
			at := metric.WithAttributes(attribute.String("stream", name))
			o.ObserveInt64(used, int64(info.State.Bytes), at)
			o.ObserveInt64(room, info.Config.MaxBytes, at)
			o.ObserveInt64(free, max(0, info.Config.MaxBytes-int64(info.State.Bytes)), at)
			o.ObserveInt64(messages, int64(info.State.Msgs), at)
			o.ObserveInt64(behind, replicasBehind(info), at)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f.watch(ctx, conn, l.Streams()) })
	t.stops = append(t.stops, func(context.Context) error {
		stop()
		wg.Wait()
		return nil
	})
	return nil
}

func replicasBehind(info *jetstream.StreamInfo) (n int64) {
	if info.Cluster != nil {
		for _, r := range info.Cluster.Replicas {
			if r.Offline || !r.Current {
				n++
			}
		}
	}
	return n
}

// watch asks for all streams now and then. One that does not answer is not told of
// until it does.
func (f *fill) watch(ctx context.Context, conn *bus.Conn, names []string) {
	tick := time.NewTicker(streamsEvery)
	defer tick.Stop()
	for {
		for _, name := range names {
			info := streamInfo(ctx, conn, name)
			f.mu.Lock()
			if info == nil {
				delete(f.m, name)
			} else {
				f.m[name] = info
			}
			f.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// streamInfo is nil if the stream does not answer; the services notice that too.
func streamInfo(ctx context.Context, conn *bus.Conn, name string) *jetstream.StreamInfo {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s, err := conn.JetStream().Stream(ctx, name)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}
