package accessrecv

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// Fault 6 of the field: no acknowledgement, no batch id, nothing persisted.
func TestFault6ARetryIsToldFromANewBatchAndNothingAcknowledgedIsLost(t *testing.T) {
	r := start(t, Command{})
	b := plain(t, rec(1, accesslog.KindEnd, 3), rec(2, accesslog.KindEnd, 3))
	// The answer of the first try is lost: the sender is gone once it has sent.
	lost := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for n := 0; n < 2; {
			n = len(r.list(t, Filter{}))
		}
		cancel()
	}()
	_, err := post(ctx, lost, r.url, b, accesslog.HeaderBatch, "b-1") // answered or not
	t.Logf("first try: %v", err)
	<-ctx.Done()
	if a := r.post(t, b, accesslog.HeaderBatch, "b-1"); a.Status != 200 || !a.Repeated || a.Stored != 2 {
		t.Fatalf("the retry: %+v", a)
	}
	if a := r.post(t, plain(t, rec(3, accesslog.KindEnd, 3)), accesslog.HeaderBatch, "b-2"); a.Status != 200 || a.Repeated || a.Stored != 1 {
		t.Fatalf("a new batch: %+v", a)
	}
	// A client that knows no ids puts its records into another batch.
	if a := r.post(t, envelope(t, fieldRec(2), fieldRec(3), fieldRec(4))); a.Status != 200 || a.Repeated || a.Stored != 3 {
		t.Fatalf("the field's client: %+v", a)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Command{DB: r.DB})
	if a := again.post(t, b, accesslog.HeaderBatch, "b-1"); !a.Repeated {
		t.Fatalf("the retry after a restart: %+v", a)
	}
	got := again.list(t, Filter{})
	if len(got) != 4 {
		t.Fatalf("%d sessions, want 4", len(got))
	}
	for _, s := range got {
		if s.BytesTx != 3000 || s.BytesRx != 3 {
			t.Errorf("%s: bytes %d and %d", s.SessionID, s.BytesTx, s.BytesRx)
		}
	}
}

// Fault 7 of the field: a session that lasts is invisible while it does.
func TestFault7AnOpenSessionIsListed(t *testing.T) {
	r := start(t, Command{})
	r.post(t, plain(t, rec(1, accesslog.KindStart, 0), rec(2, accesslog.KindStart, 0)))
	r.post(t, plain(t, rec(1, accesslog.KindAlive, 1), rec(2, accesslog.KindEnd, 1)))
	got := r.list(t, Filter{States: []State{Active}})
	if len(got) != 1 || got[0].SessionID != rec(1, "", 0).SessionID || got[0].BytesTx != 1000 || !got[0].EndedAt.IsZero() {
		t.Fatalf("%+v", got)
	}
}

// Fault 8 of the field: IPv6 addresses are joined without brackets and never parsed.
func TestFault8AddressesOfIPv6AreReadAndFoundWithBracketsOrWithout(t *testing.T) {
	r := start(t, Command{})
	var recs []accesslog.Record
	for i, addr := range []string{"[2001:db8::7]:50000", "2001:db8::7:50000", "2001:db8:0:0:0:0:0:7:50001", "[2001:DB8::7]:50002", "2001:db8::7", "2001:db8::7:443"} {
		f := fieldRec(i)
		f.SourceAddr, f.DestAddr = addr, "fd00:0:0:0:0:0:0:1:443"
		recs = append(recs, f)
	}
	if a := r.post(t, envelope(t, recs...)); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	got := r.list(t, Filter{Source: "2001:db8::7"})
	if len(got) != 5 { // the last can be an address without a port, and is taken for one
		t.Errorf("%d sessions from the address, want 5", len(got))
	}
	for _, s := range got {
		if s.DestAddr != "[fd00::1]:443" || !strings.HasPrefix(s.SourceAddr, "[2001:db8::7]:5") && s.SourceAddr != "2001:db8::7" {
			t.Errorf("from %q to %q", s.SourceAddr, s.DestAddr)
		}
	}
	if got := r.list(t, Filter{Source: "2001:db8::/32"}); len(got) != 6 {
		t.Errorf("%d sessions from the prefix, want 6", len(got))
	}
}
