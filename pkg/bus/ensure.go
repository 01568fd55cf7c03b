package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A LayoutError is a stream that is there but not as it should be.
type LayoutError struct {
	Stream, Field, Have, Want string
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("stream %s: %s is %q, want %q", e.Stream, e.Field, e.Have, e.Want)
}

// Ensure creates the streams that are missing and checks those that are there,
// and returns the layout in full. It changes no stream that exists: each
// difference is a [LayoutError], and with any of them nothing is created. Any
// number of processes may call it at once.
func Ensure(ctx context.Context, c *Conn, l Layout) (Layout, error) {
	if err := l.Validate(); err != nil {
		return l, err
	}
	have, err := c.readStreams(ctx, l.Partitions)
	if err != nil {
		return l, fmt.Errorf("read streams: %w", err)
	}
	is, err := installed(have)
	if err != nil {
		return l, err
	}
	l = l.or(is).or(DefaultLayout)
	if err := compareAll(have, l); err != nil {
		return l, err
	}
	for _, want := range l.streams() {
		if _, ok := have[want.Name]; ok {
			continue
		}
		if err := c.createStream(ctx, want); err != nil {
			return l, err
		}
	}
	return l, nil
}

// Inspect reads the layout that is installed. Its error wraps [ErrNotInstalled]
// if there is none or streams are missing, and has a [LayoutError] for each that
// is not as Ensure would have made it. Streams that do not answer, as while their
// leader is being elected, it asks again for as long as [Options.Wait] says.
func Inspect(ctx context.Context, c *Conn) (Layout, error) {
	have, err := c.readStreams(ctx, 0)
	for end := time.Now().Add(c.wait); passes(err) && ctx.Err() == nil && time.Now().Before(end); have, err = c.readStreams(ctx, 0) {
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if err != nil {
		return Layout{}, fmt.Errorf("read streams: %w", err)
	}
	l, err := installed(have)
	if err != nil {
		return Layout{}, err
	}
	if l.Partitions == 0 {
		return Layout{}, ErrNotInstalled
	}
	full := l.or(DefaultLayout)
	for _, want := range full.streams() {
		if _, ok := have[want.Name]; !ok {
			return full, fmt.Errorf("stream %s is missing: %w", want.Name, ErrNotInstalled)
		}
	}
	return full, compareAll(have, full)
}

// passes says whether a stream did not answer for a reason that passes by itself.
func passes(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.As(err, &api) && api.Code == 503
}

func compareAll(have map[string]jetstream.StreamConfig, l Layout) error {
	var errs []error
	for _, want := range l.streams() {
		if cfg, ok := have[want.Name]; ok {
			errs = append(errs, compare(cfg, want))
		}
	}
	return errors.Join(errs...)
}

func compare(have, want jetstream.StreamConfig) error {
	var errs []error
	check := func(field string, h, w any) {
		if hs, ws := fmt.Sprint(h), fmt.Sprint(w); hs != ws {
			errs = append(errs, &LayoutError{want.Name, field, hs, ws})
		}
	}
	check("layout version", have.Metadata[metaLayout], want.Metadata[metaLayout])
	check("partitions", have.Metadata[metaPartitions], want.Metadata[metaPartitions])
	check("subjects", have.Subjects, want.Subjects)
	check("retention", have.Retention, want.Retention)
	check("storage", have.Storage, want.Storage)
	check("replicas", have.Replicas, want.Replicas)
	check("discard", have.Discard, want.Discard)
	check("discard_new_per_subject", have.DiscardNewPerSubject, false)
	check("max_bytes", have.MaxBytes, want.MaxBytes)
	check("max_age", have.MaxAge, want.MaxAge)
	check("max_msgs", have.MaxMsgs, want.MaxMsgs)
	check("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	check("max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	check("no_ack", have.NoAck, false)
	check("sealed", have.Sealed, false)
	check("deny_delete", have.DenyDelete, false)
	check("deny_purge", have.DenyPurge, false)
	check("allow_direct", have.AllowDirect, want.AllowDirect)
	check("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish)
	check("allow_rollup_hdrs", have.AllowRollup, want.AllowRollup)
	check("allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL)
	check("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules)
	return errors.Join(errs...)
}

// readStreams reads the settings of the streams that are there. With partitions
// 0 it reads as many as the first says that there are.
func (c *Conn) readStreams(ctx context.Context, partitions int) (map[string]jetstream.StreamConfig, error) {
	have := map[string]jetstream.StreamConfig{}
	first, err := c.readStream(ctx, EventStream(0), have)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(first.Metadata[metaPartitions]); err == nil && n <= MaxPartitions {
		partitions = max(n, partitions)
	}
	names := []string{StreamUploads, StreamAccess, StreamAudit, StreamNotify}
	for p := 1; p < partitions; p++ {
		names = append(names, EventStream(p))
	}
	for _, name := range names {
		if _, err := c.readStream(ctx, name, have); err != nil {
			return nil, err
		}
	}
	return have, nil
}

func (c *Conn) readStream(ctx context.Context, name string, into map[string]jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	var resp struct {
		Error  *jetstream.APIError    `json:"error"`
		Config jetstream.StreamConfig `json:"config"`
	}
	msg, err := c.request(ctx, "$JS.API.STREAM.INFO."+name, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("%w (JetStream is not enabled, or the cluster has no leader)", err)
	}
	if err == nil {
		err = json.Unmarshal(msg.Data, &resp)
	}
	switch {
	case err != nil:
		return resp.Config, fmt.Errorf("stream %s: %w", name, err)
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return resp.Config, nil
	case resp.Error != nil:
		return resp.Config, fmt.Errorf("stream %s: %w", name, resp.Error)
	}
	into[name] = resp.Config
	return resp.Config, nil
}

// createStream creates one stream. If another process does so at the same time,
// the server takes equal settings twice; other settings are an error here.
func (c *Conn) createStream(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := c.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		have := map[string]jetstream.StreamConfig{}
		if cfg, err := c.readStream(ctx, want.Name, have); err == nil {
			return compare(cfg, want)
		}
	}
	if err != nil {
		return fmt.Errorf("create stream %s (%d bytes at most, %d replicas): %w", want.Name, want.MaxBytes, want.Replicas, err)
	}
	return nil
}
