package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/check"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/site"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A run in progress.
type measurement struct {
	*command
	site   *site.Site
	store  *s3store.Store
	load   *load.Runner
	rep    *report.Report
	screen *screen
	log    *slog.Logger
}

// measure does the whole test. An error is of the test; what is wrong with the
// installation is in the report.
func measure(ctx context.Context, c *command, stderr io.Writer, log *slog.Logger) (rep *report.Report, err error) {
	m := &measurement{command: c, log: log, screen: newScreen(stderr)}
	defer m.screen.clear()
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	defer func() { m.site.Stop() }()
	if m.WorkDir != "" && m.site.Own {
		log.Info("the installation is kept", "dir", m.WorkDir)
	}
	conns, err := m.connect(ctx)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if m.store, err = s3store.Open(ctx, m.site.S3, log); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	if err := m.store.CheckBucket(ctx); err != nil {
		return nil, err
	}
	m.load = load.New(load.Config{
		Seed: c.Seed, Sessions: c.Sessions, Mix: c.mix, Rate: c.rate, Duration: c.Duration, Events: c.Events, Ramp: c.Ramp, Length: c.Length,
		End: c.End, EndOver: c.EndOver, Follow: c.Follow, Node: "loadtest", Drop: c.drop,
	}, m.site.Layout, conns)
	defer m.load.Close()
	m.rep = &report.Report{Version: report.Version, Program: version.Line("loadtest"), Started: time.Now().UTC(), Machine: machine(), Setup: m.setup()}
	if err := m.publish(ctx); err != nil {
		return nil, err
	}
	if err := m.readBack(ctx); err != nil {
		return nil, err
	}
	m.judge()
	return m.rep, nil
}

func (m *measurement) start(ctx context.Context) error {
	own, err := m.target()
	if err != nil {
		return err
	}
	if !own {
		m.site, err = site.Attach(ctx, m.NATS, m.S3, m.PID, m.log)
		return err
	}
	dir := m.WorkDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "tapedeck-load-"); err != nil {
			return err
		}
	}
	m.site, err = site.Start(ctx, site.Config{Dir: dir, NoSync: m.NoSync, Layout: m.Layout, Log: m.log})
	if m.WorkDir == "" {
		if err != nil {
			return errors.Join(err, os.RemoveAll(dir))
		}
		m.site.OnStop(func() { _ = os.RemoveAll(dir) }) // temporary anyway
	}
	return err
}

func (m *measurement) connect(ctx context.Context) (conns []*bus.Conn, err error) {
	for range m.Connections {
		c, err := bus.Connect(ctx, m.site.Bus, m.log)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func (m *measurement) setup() report.Setup {
	s := report.Setup{
		Preset: m.Preset, Target: "installation of its own", Sync: "every message", Partitions: m.site.Layout.Partitions, Sessions: m.Sessions,
		Mix: m.Mix, Rate: m.Rate, Duration: m.Duration.Seconds(), Events: m.Events, Ramp: m.Ramp.Seconds(), Length: m.Length.Seconds(), EndOver: m.EndOver.Seconds(), Seed: m.Seed,
	}
	if m.rate > 0 {
		s.Rate += " events/s"
	} else {
		s.Rate += " rate"
	}
	if m.NoSync {
		s.Sync = "the server's default"
	}
	if !m.site.Own {
		s.Target, s.Sync = fmt.Sprint(m.site.Bus.URL), "as it is set there"
	}
	return s
}

// publish makes the load, samples while it lasts, and waits for the recordings.
func (m *measurement) publish(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	s := newSampler(m, begin)
	sampling := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(sampling)
		s.run(ctx, stop, cancel)
	}()
	err := m.load.Run(ctx)
	published := time.Since(begin)
	s.over.Store(true)
	if err == nil {
		if err = m.load.AwaitFinished(ctx, m.Wait); err != nil && ctx.Err() == nil {
			m.fail("%v", err)
			err = nil
		}
	}
	finished := time.Since(begin)
	close(stop)
	<-sampling
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	p := m.load.Progress()
	m.rep.Publish = report.Publish{
		Sessions: int64(len(m.load.Sessions())), Events: p.Acked, Bytes: p.AckedBytes, Unacked: p.Published - p.Acked, Seconds: published.Seconds(),
		PerSecond: float64(p.Acked) / published.Seconds(), BytesRate: float64(p.AckedBytes) / published.Seconds(),
	}
	m.rep.EndToEnd = report.EndToEnd{Seconds: finished.Seconds(), PerSecond: float64(p.Acked) / finished.Seconds(), Finished: p.Finished, Missing: p.Ended - p.Finished}
	m.rep.LeftOpen = m.rep.Publish.Sessions - p.Ended
	m.rep.Ack, m.rep.Follow, m.rep.Finish = m.load.Ack.Summary(), m.load.Followed.Summary(), m.load.Finish.Summary()
	m.rep.Curves = map[string][]load.Point{"ack": m.load.Ack.Curve(), "follow": m.load.Followed.Curve(), "finish": m.load.Finish.Curve()}
	s.finish(m.rep, finished)
	return nil
}

// checkers are recordings read back at once.
const checkers = 4

func (m *measurement) readBack(ctx context.Context) error {
	var ended, chosen []*load.Session
	for _, s := range m.load.Sessions() {
		if _, ok := s.Events(); ok {
			ended = append(ended, s)
		}
	}
	random := rand.New(rand.NewPCG(m.Seed, 0))
	for _, s := range ended {
		if random.Float64() < m.Sample {
			chosen = append(chosen, s)
		}
	}
	if len(ended) > 0 {
		m.rep.CheckedPart = float64(len(chosen)) / float64(len(ended))
	}
	done := m.screen.count("reading back", len(chosen))
	result, err := check.Sessions(ctx, m.store, chosen, checkers, done)
	m.rep.Check = result
	return err
}

func (m *measurement) fail(format string, args ...any) {
	m.rep.Reasons = append(m.rep.Reasons, fmt.Sprintf(format, args...))
}

// judge says whether the installation has passed.
func (m *measurement) judge() {
	if n, errs := m.load.Trouble(); n > 0 {
		m.fail("%d sessions or followers had trouble, first: %v", n, errs[0])
	}
	if n := m.rep.Publish.Unacked; n > 0 {
		m.fail("%d events were published and never acknowledged", n)
	}
	if c := m.rep.Check; !c.OK() {
		m.fail("recordings are not what was published: %d events lost, %d duplicates, %d out of order, %d different, %d extra, %d late; %d recordings unreadable, %d not as their manifest says",
			c.Lost, c.Duplicates, c.Disorder, c.Different, c.Extra, c.Late, c.Unreadable, c.Invalid)
	}
	if m.rep.Publish.Events == 0 {
		m.fail("nothing was published")
	}
	m.rep.Passed = len(m.rep.Reasons) == 0
}
