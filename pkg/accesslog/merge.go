package accesslog

import (
	"slices"
	"strings"
	"time"
)

// MergeGap is the longest pause inside a burst, as the field has it.
const MergeGap = 5 * time.Second

type mergeKey struct {
	source, dest, protocol, user, node string
	resource                           int64
}

// Merge makes one record of each burst among ended sessions: the same source
// host, destination, protocol, resource, user and node, with no pause longer
// than gap. The burst has the id of its first session, the earliest start, the
// latest end, the bytes of all, and as many connections as its records had
// together. So it may be merged again with others: what comes out is the same
// however the records were grouped before.
//
// A record that has not ended is left as it is. recs is not changed. The order
// is that of the first record of each burst.
func Merge(recs []Record, gap time.Duration) []Record {
	groups := map[mergeKey][]int{}
	for i := range recs {
		if r := &recs[i]; r.Ended() {
			groups[keyOf(r)] = append(groups[keyOf(r)], i)
		}
	}
	merged := slices.Clone(recs)
	gone := make([]bool, len(recs))
	for _, group := range groups {
		mergeGroup(merged, gone, group, gap)
	}
	out := merged[:0]
	for i := range merged {
		if !gone[i] {
			out = append(out, merged[i])
		}
	}
	return out
}

func keyOf(r *Record) mergeKey {
	host, _ := SplitAddr(r.SourceAddr)
	return mergeKey{host, r.DestAddr, r.Protocol, r.User, r.Node, r.ResourceID}
}

// mergeGroup merges the bursts of one key. A burst stands where the first of its
// records stood.
func mergeGroup(recs []Record, gone []bool, group []int, gap time.Duration) {
	slices.SortFunc(group, func(a, b int) int { return startsBefore(&recs[a], &recs[b]) })
	for len(group) > 0 {
		n, until := 1, recs[group[0]].EndedAt
		for n < len(group) && recs[group[n]].StartedAt.Sub(until) <= gap {
			until = later(until, recs[group[n]].EndedAt)
			n++
		}
		place := slices.Min(group[:n])
		whole := mergeAll(recs, group[:n])
		for _, i := range group[:n] {
			gone[i] = i != place
		}
		recs[place] = whole
		group = group[n:]
	}
}

func startsBefore(a, b *Record) int {
	if c := a.StartedAt.Compare(b.StartedAt); c != 0 {
		return c
	}
	return strings.Compare(a.SessionID, b.SessionID)
}

func mergeAll(recs []Record, group []int) Record {
	whole := recs[group[0]]
	for _, i := range group[1:] {
		r := &recs[i]
		if r.EndedAt.After(whole.EndedAt) {
			whole.EndedAt, whole.Reason = r.EndedAt, r.Reason
		}
		whole.BytesTx += r.BytesTx
		whole.BytesRx += r.BytesRx
		whole.ConnectionCount = whole.Connections() + r.Connections()
	}
	if len(group) > 1 {
		whole.SourceAddr, _ = SplitAddr(whole.SourceAddr)
	}
	return whole
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
