package accessrecv

import (
	"cmp"
	"net"
	"net/netip"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// newer says whether a tells more of a session than b. Of two records one is
// newer unless they say the same, so the order in which they come does not matter.
func newer(a, b *accesslog.Record) bool {
	if a.Newer(b) {
		return true
	}
	if b.Newer(a) {
		return false
	}
	// The field's records have no number, and one without an end has no time
	// either, but bytes only grow.
	return cmp.Or(cmp.Compare(a.BytesTx+a.BytesRx, b.BytesTx+b.BytesRx), cmp.Compare(a.Connections(), b.Connections())) > 0
}

// fold makes one record of what is known of a session and a record of it that
// came. It says whether that told anything.
func fold(known, came *accesslog.Record) (accesslog.Record, bool) {
	old, best, other := *known, *known, came
	news := newer(came, known)
	if news {
		best, other = *came, known
	}
	if other.StartedAt.Before(best.StartedAt) {
		best.StartedAt = other.StartedAt
	}
	best.User = cmp.Or(best.User, other.User)
	best.Node = cmp.Or(best.Node, other.Node)
	return best, news || !best.StartedAt.Equal(old.StartedAt) || best.User != old.User || best.Node != old.Node
}

// normal is the record as it is stored: addresses in one form, no end where there
// is none.
func normal(r accesslog.Record) accesslog.Record {
	r.SourceAddr, r.DestAddr = normalAddr(r.SourceAddr), normalAddr(r.DestAddr)
	if !r.Ended() {
		r.EndedAt = time.Time{}
	}
	r.StartedAt, r.EndedAt = r.StartedAt.UTC().Truncate(time.Microsecond), r.EndedAt.UTC().Truncate(time.Microsecond)
	return r
}

// normalAddr writes an address as host:port or [v6]:port, also where the sender
// left the brackets out.
func normalAddr(s string) string {
	host, port := accesslog.SplitAddr(s)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// sourceIP is the address as it is stored for comparing, nil if it is none.
func sourceIP(addr string) []byte {
	host, _ := accesslog.SplitAddr(addr)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	b := ip.As16()
	return b[:]
}
