package uploadlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A LeaseInfo is the newest record on a partition's lease subject.
type LeaseInfo struct {
	bus.Lease
	Seq    uint64    // its stream sequence, the fence of its owner; 0: there never was a lease
	Free   bool      // nobody owns the partition
	Stored time.Time // by the server's clock
}

// ReadLease reads who owns partition p, as the stream's leader has it. It is a
// hint: a claim may overtake it, and then the compare and swap of Claim fails.
func ReadLease(ctx context.Context, conn *bus.Conn, p int) (LeaseInfo, error) {
	m, err := getLast(ctx, conn, bus.LeaseSubject(p))
	if errors.Is(err, ErrNotFound) {
		return LeaseInfo{Free: true}, nil
	}
	if err != nil {
		return LeaseInfo{}, fmt.Errorf("read the lease of partition %d: %w", p, err)
	}
	info := LeaseInfo{Seq: m.Seq, Stored: m.Time}
	if err := json.Unmarshal(m.Data, &info.Lease); err != nil {
		return LeaseInfo{}, fmt.Errorf("read the lease of partition %d at %d: %w", p, m.Seq, err)
	}
	if err := checkVersion("lease", info.V); err != nil {
		return LeaseInfo{}, err
	}
	info.Free = info.Owner == ""
	return info, nil
}

// ReadCursor reads the cursor of partition p and the sequence of its record, as
// the stream's leader has it. It returns ErrNotFound if there is none yet.
func ReadCursor(ctx context.Context, conn *bus.Conn, p int) (bus.Cursor, uint64, error) {
	m, err := getLast(ctx, conn, bus.CursorSubject(p))
	if err != nil {
		return bus.Cursor{}, 0, fmt.Errorf("read the cursor of partition %d: %w", p, err)
	}
	c, err := decodeCursor(p, m.Seq, m.Data)
	return c, m.Seq, err
}

func decodeCursor(p int, seq uint64, data []byte) (bus.Cursor, error) {
	var c bus.Cursor
	if err := json.Unmarshal(data, &c); err != nil {
		return bus.Cursor{}, fmt.Errorf("read the cursor of partition %d at %d: %w", p, seq, err)
	}
	return c, checkVersion("cursor", c.V)
}

// Claim makes member the owner of partition p if the lease is still prev, as
// ReadLease returned it (nil: read it now). Whoever owned the partition before is
// fenced out from then on, whether it knows it or not.
//
// It returns an error that wraps ErrLost if somebody else's claim came first, and
// ErrUnknown if it could not be learnt within half a minute, or before ctx was
// done, whether the claim is stored: it may yet be. Then claim anew; the new claim
// decides.
func Claim(ctx context.Context, conn *bus.Conn, p int, member string, prev *LeaseInfo, reason string) (*Owner, error) {
	if prev == nil {
		info, err := ReadLease(ctx, conn, p)
		if err != nil {
			return nil, err
		}
		prev = &info
	}
	lease := bus.Lease{V: bus.LogVersion, Owner: member, Nonce: nuid.Next(), At: time.Now().UTC(), Reason: reason}
	seq, err := swapLease(ctx, conn, p, prev.Seq, lease)
	if err != nil {
		return nil, fmt.Errorf("claim partition %d after lease %d: %w", p, prev.Seq, err)
	}
	return newOwner(conn, p, lease, seq), nil
}

// swapLease stores lease if the newest one is still prev. A try that got no answer
// is told from others by its nonce, so trying again is safe: a second try of a
// stored one is refused, and the read that follows finds the first.
func swapLease(ctx context.Context, conn *bus.Conn, p int, prev uint64, lease bus.Lease) (uint64, error) {
	data, err := json.Marshal(lease)
	if err != nil {
		return 0, fmt.Errorf("encode lease: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	for wait := newBackoff(); ; {
		m := nats.NewMsg(bus.LeaseSubject(p))
		m.Data = data
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(prev, 10))
		// Earlier leases go with this record; it stays the subject's last.
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		seq, err := send(ctx, conn, []*nats.Msg{m})
		switch code := apiCode(err); {
		case err == nil:
			return seq, nil
		case code == codeInProcess:
			// Another claim is under way; what it makes of the lease shows next time.
		case code != 0 && code != codeWrongSequence:
			return 0, fmt.Errorf("%w: %w", ErrRefused, err)
		default:
			// Refused by the expectation, or no answer: the record tells.
			now, rerr := ReadLease(ctx, conn, p)
			switch {
			case rerr != nil:
				return 0, fmt.Errorf("%w: %w; then %w", ErrUnknown, err, rerr)
			case now.Nonce == lease.Nonce:
				return now.Seq, nil
			case now.Seq > prev:
				return 0, fmt.Errorf("%w to %q at %d", ErrLost, now.Owner, now.Seq)
			}
			// Still prev: send it again. Older than prev: a leader that has not
			// applied all of its log yet.
		}
		if !wait.sleep(ctx) {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
}
