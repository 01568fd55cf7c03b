package slicer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
)

// trimLoop deletes from the front of the EVENTS stream what is durable and older
// than the keep time, in small steps: one large purge stalls publishing. An owner
// that was fenced out and does not know it yet does little harm: what its cursor has
// passed is durable whoever owns the partition, unless just now the store forgets an
// upload and its session is to be recorded anew; that is seen, and said to be lost.
func (p *partition) trimLoop() {
	step := uint64(p.cfg.TrimStep)
	for {
		full, err := p.trim(step)
		switch {
		case err != nil && p.ctx.Err() == nil:
			p.log.Warn("stream not trimmed", "err", err)
			fallthrough
		case !full:
			step = uint64(p.cfg.TrimStep)
			pause(p.ctx, min(20*p.cfg.TrimEvery, max(p.cfg.KeepTime/100, p.cfg.TrimEvery)))
		default:
			// It does not keep up with this step.
			step = min(2*step, 20*uint64(p.cfg.TrimStep))
			pause(p.ctx, p.cfg.TrimEvery)
		}
		if p.ctx.Err() != nil {
			return
		}
	}
}

// trim makes one step. It returns true if there is more to trim.
func (p *partition) trim(step uint64) (more bool, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	p.trimming.Lock()
	defer p.trimming.Unlock()
	info, err := p.trimStream.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for the state of the stream: %w", err)
	}
	limit, first := p.trimmable.Load(), info.State.FirstSeq
	if !info.Created.UTC().Equal(p.created) || info.State.Msgs == 0 {
		return false, nil
	}
	before := info.TimeStamp.Add(-p.cfg.KeepTime)
	if p.tight(info) {
		before = info.TimeStamp
	}
	if first > limit {
		return false, nil
	}
	for ; step > 0; step /= 2 {
		last := min(first+step-1, limit)
		at, err := p.timeOf(ctx, last)
		if err != nil {
			return false, err
		}
		if at.After(before) {
			continue
		}
		err = failpoint.Around(func() error { return p.trimStream.Purge(ctx, jetstream.WithPurgeSequence(last+1)) }, "slicer/trim")
		if err != nil {
			return false, fmt.Errorf("purge up to %d: %w", last, err)
		}
		p.met.trimmed.Add(ctx, int64(last-first+1))
		return last < limit && step >= uint64(p.cfg.TrimStep), nil
	}
	return false, nil
}

// tight says whether the stream runs out of room, and warns.
func (p *partition) tight(info *jetstream.StreamInfo) bool {
	room := info.Config.MaxBytes
	if room <= 0 || info.State.Bytes < uint64(room)/100*uint64(p.cfg.TrimFull) {
		return false
	}
	p.log.Warn("stream runs out of room; what is in S3 is trimmed before its keep time, and when it is full producers wait",
		"bytes", info.State.Bytes, "room", room, "durable", p.trimmable.Load(), "last", info.State.LastSeq)
	return true
}
